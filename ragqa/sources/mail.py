"""Messages: who wrote what to whom and when, what was quoted once, attachments as documents of their own."""

from __future__ import annotations

import email
import email.policy
import mailbox
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from ragqa.sources import registry
from ragqa.sources.loader import File
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import UnreadableError, clean, clean_title, read_file, read_markup
from ragqa.types import Document

# A reply says again what it answers, line by line behind ">".
_QUOTED = re.compile(r"(?:^>.*\n?)+", re.M)
# Attached messages and archives hold others; so deep they are read.
DEEPEST = 3


def read_message(file: File) -> Iterator[Item]:
    """Yield a message and what is attached to it."""
    message = email.message_from_bytes(read_file(file.path), policy=email.policy.default)
    if not message.keys():
        raise UnreadableError("not a message")
    yield from message_documents(message, file)


def read_mailbox(file: File) -> Iterator[Item]:
    """Yield the messages of a mailbox, `inbox.mbox/1` and so on; quotations of earlier ones once."""
    said: set[str] = set()
    with closing(mailbox.mbox(file.path, create=False)) as box:
        for number, key in enumerate(box.iterkeys(), 1):
            whole = email.message_from_bytes(box.get_bytes(key), policy=email.policy.default)
            yield from message_documents(whole, _inner(file, str(number)), said)


def message_documents(
    message: EmailMessage, file: File, said: set[str] | None = None, depth: int = 0
) -> Iterator[Item]:
    """Yield the document of a message, without quotations that are in `said`, and its attachments."""
    said = set() if said is None else said
    fields = {name: _header(message, name) for name in ("subject", "from", "to", "cc")}
    metadata: dict[str, Any] = {name: value for name, value in fields.items() if value and name != "subject"}
    with suppress(TypeError, ValueError, AttributeError, IndexError):
        date = parsedate_to_datetime(str(message["date"]))
        metadata["date"] = (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat(timespec="seconds")
    body = _without(_body(message), said)
    headers = [f"{name.capitalize()}: {fields[name]}" for name in ("from", "to") if fields[name]]
    headers += [f"Date: {metadata['date'][:16].replace('T', ' ')}"] if "date" in metadata else []
    text = "\n".join(headers) + f"\n\n{body}"
    title = clean_title(fields["subject"]) or clean_title(file.path.stem)
    yield Document(file.name, title, text.strip(), file.source, metadata, "text")
    if depth < DEEPEST:
        for number, part in enumerate(message.iter_attachments(), 1):
            yield from _attachment(part, number, file, said, depth)


def _attachment(part: EmailMessage, number: int, file: File, said: set[str], depth: int) -> Iterator[Item]:
    name = clean_title(part.get_filename() or f"attachment-{number}").replace("/", "_")
    inner = _inner(file, name)
    content = part.get_content() if part.get_content_type() != "message/rfc822" else None
    if content is None:
        attached = part.get_payload(0) if part.is_multipart() else None
        if isinstance(attached, EmailMessage):
            yield from message_documents(attached, inner, said, depth + 1)
        return
    raw = content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="ragqa-") as folder:
        path = Path(folder) / f"attachment{Path(name).suffix}"
        path.write_bytes(raw)
        try:
            yield from registry.read(File(path, inner.name, inner.source), path.suffix.lower())
        except UnreadableError as error:
            yield Skipped(inner.name, str(error), unread=True)


def _inner(file: File, name: str) -> File:
    return File(file.path, f"{file.name}/{name}", f"{file.source}/{name}", file.format, file.password)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(clean(str(message[name] or "")).split())
    except (ValueError, IndexError, AttributeError, TypeError):
        # A header that is broken is none.
        return ""


def _body(message: EmailMessage) -> str:
    """Return what a message says: its plain text, or else its HTML as text."""
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    try:
        content = str(part.get_content())
    except (LookupError, ValueError, AttributeError):
        raw = part.get_payload(decode=True)
        content = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    html = part.get_content_type() == "text/html"
    return read_markup(content, "html").text if html else clean(content).strip()


def _without(body: str, said: set[str]) -> str:
    """Return a body without the quoted lines that are in `said`; what it says itself is noted there."""

    def quoted(found: re.Match[str]) -> str:
        lines = [line.lstrip("> \t") for line in found[0].splitlines()]
        fresh = [line for line in lines if line and _key(line) not in said]
        said.update(map(_key, fresh))
        return "".join(f"> {line}\n" for line in fresh)

    text = _QUOTED.sub(quoted, body)
    said.update(_key(line) for line in text.splitlines() if line.strip() and not line.startswith(">"))
    return text


def _key(line: str) -> str:
    return " ".join(line.lower().split())
