"""From the bytes and markup that documents come in to the plain Markdown or text that is stored."""

from __future__ import annotations

import math
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ragqa.config import MAX_DOCUMENT
from ragqa.errors import unknown_name
from ragqa.safety.plain_yaml import PlainYamlError, read_yaml
from ragqa.types import TextFormat

if TYPE_CHECKING:
    from bs4 import Tag

FORMATS = ("auto", "markdown", "html", "text")

# Python's HTML parser reads about 40,000 a second.
MAX_TAGS = 200_000
# A title and a heading are repeated with each passage.
LONGEST_TITLE = 1_000
MAX_DEPTH = 100

_NOT_TEXT = ["script", "style", "noscript", "template", "svg", "nav", "iframe", "head"]
_BLOCK_TAG = re.compile(r"</(p|div|ul|ol|li|pre|blockquote|h[1-6]|table|article|section|body|html)\s*>", re.I)
_FIRST_HEADING = re.compile(r"^#[ \t]+(\S.*)$", re.M)
_HEADING_END = re.compile(r"(?:(?<=[ \t])|\A)#+\Z")
_HEADER_END = re.compile(r"^-{3,}[ \t]*$", re.M)
_LIST_NUMBER = re.compile(r"[0-9]{1,9}")
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


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; raises UnreadableError for another or too large one."""
    with open_regular(path) as file:
        # None is what a file of /proc may have to say at the moment.
        raw = file.read(MAX_DOCUMENT + 1) or b""
    if len(raw) > MAX_DOCUMENT:
        raise UnreadableError(f"larger than {MAX_DOCUMENT:,} bytes")
    return raw


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file; raises UnreadableError for another one, which might never end, and OSError.

    It is looked at once it is open, and never waited for: a file may have become a pipe since it was listed.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = open(number, "rb")  # noqa: SIM115 - the caller closes it
    if stat.S_ISREG(os.fstat(number).st_mode):
        return file
    file.close()
    raise UnreadableError("not a regular file")


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
    """Return `text`, written in `format` ("auto", "markdown", "html" or "text"), ready to be stored.

    Raises UnreadableError.
    """
    if len(text) > MAX_DOCUMENT:
        raise UnreadableError(f"longer than {MAX_DOCUMENT:,} characters")
    text = clean(text)
    if format == "html" or (format == "auto" and looks_like_html(text)):
        return _from_html(text)
    if format == "text":
        return Readable(text.strip("\n"), "text")
    return _from_markdown(text)


def looks_like_html(text: str) -> bool:
    """Tell whether `text` is HTML rather than Markdown with some tags in it."""
    return text.lstrip()[:1] == "<" and _BLOCK_TAG.search(text) is not None


def clean_title(title: str) -> str:
    """Return a title as one line of at most LONGEST_TITLE characters."""
    return " ".join(clean(title).split())[:LONGEST_TITLE]


def jsonable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a metadata value as something JSON can hold; what lies deeper than `depth` becomes "…"."""
    if isinstance(value, dict | list | tuple | set) and not depth:
        return "…"
    if isinstance(value, dict):
        return {clean(str(key)): jsonable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item, depth - 1) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) or value is None else clean(str(value))


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _from_markdown(text: str) -> Readable:
    metadata: dict[str, Any] = {}
    if text.startswith("---\n"):
        metadata, text = _front_matter(text)
    title = metadata.pop("title", None)
    heading = None if title else _FIRST_HEADING.search(_FENCE.sub("", text[:20_000]))
    if heading:
        title = _HEADING_END.sub("", heading[1].strip(" \t"))
    return Readable(text.strip("\n"), "markdown", clean_title(str(title or "")), metadata)


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return what the YAML between two lines of dashes says, and the text after it.

    A broken header is not worth losing the document: it stays as text.
    """
    start = len("---\n")
    end = _HEADER_END.search(text, start)
    if end is None:
        return {}, text
    try:
        said = read_yaml(text[start : end.start()])
    except PlainYamlError:
        return {}, text
    metadata = jsonable(said) if isinstance(said, dict) else {}
    return metadata, text[end.end() :].strip()


def _from_html(text: str) -> Readable:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    if text.count("<") > MAX_TAGS:
        raise UnreadableError(f"HTML with more than {MAX_TAGS:,} tags")
    try:
        soup = BeautifulSoup(_closed(text), "html.parser")
        heading = soup.title or soup.h1
        title = clean_title(heading.get_text()) if heading else ""
        for tag in soup(_NOT_TEXT):
            tag.decompose()
        for tag in soup("ol", start=True):
            if not _LIST_NUMBER.fullmatch(str(tag["start"])):
                del tag["start"]
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
    except Exception as error:  # both libraries trip over attributes and declarations that nobody foresaw
        raise UnreadableError(f"HTML that cannot be converted ({type(error).__name__})") from error
    return Readable(re.sub(r"\n{3,}", "\n\n", clean(markdown)).strip("\n"), "markdown", title)


def _closed(text: str) -> str:
    """Return HTML without tags and comments that never end: the parser looks for the end of each anew."""
    comment = text.rfind("-->") + 1
    text = text[:comment] + text[comment:].replace("<!--", "&lt;!--")
    tag = text.rfind(">") + 1
    return text[:tag] + text[tag:].replace("<", "&lt;")


def _code_language(pre: Tag) -> str | None:
    """Return the language that a <pre> or the <code> in it names as class "language-NAME"."""
    for tag in (pre, pre.find("code")):
        for name in (tag.get("class") or []) if tag else []:
            if name.startswith("language-"):
                return name.removeprefix("language-")
    return None
