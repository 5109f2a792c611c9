"""From the bytes and markup that documents come in to the plain Markdown or text that is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from ragqa.errors import unknown_name
from ragqa.types import TextFormat

if TYPE_CHECKING:
    from bs4 import Tag

FORMATS = ("auto", "markdown", "html", "text")

_NOT_TEXT = ["script", "style", "noscript", "template", "svg", "nav", "iframe", "head"]
_BLOCK_TAG = re.compile(r"</(p|div|ul|ol|li|pre|blockquote|h[1-6]|table|article|section|body|html)\s*>", re.I)
_FIRST_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t]*#*[ \t]*$", re.M)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)


class UnreadableError(ValueError):
    """Text that cannot be converted; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Readable:
    """Text ready to be stored, with what the markup said about it."""

    text: str
    format: TextFormat
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def check_format(format: str) -> None:
    """Raise UsageError when `format` is not one that `read_markup` knows."""
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)


def decode(raw: bytes) -> str:
    """Return UTF-8 or BOM-marked UTF-16 bytes as text; raises UnreadableError."""
    if b"\0" in raw and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError("not text (it holds NUL bytes)")
    try:
        return raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError("not UTF-8") from error


def clean(text: str) -> str:
    """Return `text` with Unix line ends and without characters that SQLite or UTF-8 cannot hold."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(text) else text


def read_markup(text: str, format: str) -> Readable:
    """Return `text`, written in `format` ("auto", "markdown", "html" or "text"), ready to be stored."""
    text = clean(text)
    if format == "html" or (format == "auto" and looks_like_html(text)):
        return _from_html(text)
    if format == "text":
        return Readable(text.strip("\n"), "text")
    return _from_markdown(text)


def looks_like_html(text: str) -> bool:
    """Tell whether `text` is HTML rather than Markdown with some tags in it."""
    return text.lstrip()[:1] == "<" and _BLOCK_TAG.search(text) is not None


def jsonable(value: Any) -> Any:
    """Return a metadata value as something JSON can hold."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return clean(value)
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _from_markdown(text: str) -> Readable:
    import frontmatter

    metadata: dict[str, Any] = {}
    if text.startswith("---\n"):
        try:
            metadata, text = frontmatter.parse(text)
        except Exception:  # a broken header is not worth losing the document: it stays as text
            metadata = {}
    metadata = {str(key): jsonable(value) for key, value in metadata.items()}
    title = metadata.pop("title", None)
    heading = None if title else _FIRST_HEADING.search(_FENCE.sub("", text[:20_000]))
    return Readable(
        text.strip("\n"), "markdown", str(title or "") or (heading.group(1) if heading else ""), metadata
    )


def _from_html(text: str) -> Readable:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    try:
        soup = BeautifulSoup(text, "html.parser")
        heading = soup.title or soup.h1
        title = " ".join(heading.get_text().split()) if heading else ""
        for tag in soup(_NOT_TEXT):
            tag.decompose()
        body = soup.find("main") or soup.find("article") or soup.body or soup
        markdown = MarkdownConverter(
            heading_style="ATX",
            bullets="-",
            escape_misc=False,
            escape_underscores=False,
            escape_asterisks=False,
            code_language_callback=_code_language,
        ).convert_soup(body)
    except RecursionError as error:
        raise UnreadableError("HTML nested too deeply") from error
    return Readable(re.sub(r"\n{3,}", "\n\n", markdown).strip("\n"), "markdown", title)


def _code_language(pre: Tag) -> str | None:
    """Return the language that a <pre> or the <code> in it names as class "language-NAME"."""
    for tag in (pre, pre.find("code")):
        for name in (tag.get("class") or []) if tag else []:
            if name.startswith("language-"):
                return name.removeprefix("language-")
    return None
