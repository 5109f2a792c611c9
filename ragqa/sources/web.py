"""A page of the web that was named: it alone is fetched, and nothing that it links to."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ragqa.config import MAX_DOCUMENT
from ragqa.errors import RagqaError, UsageError
from ragqa.sources import registry
from ragqa.sources.loader import File
from ragqa.sources.source import Item, Skipped, Source
from ragqa.sources.text import UnreadableError, clean

# How long is waited for each piece of an answer, and what is read at most: a PDF is larger than its text.
PATIENCE_S = 30.0
MOST_BYTES = 10 * MAX_DOCUMENT
# What the server says it is, as the suffix of a file of that kind.
_KINDS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "application/epub+zip": ".epub",
}


def is_url(name: str) -> bool:
    """Tell whether a name is the address of a page."""
    return name.startswith(("http://", "https://"))


def url_source(url: str, *, offline: bool = False, password: str = "") -> Source:
    """Return the one document at an address; raises UsageError where that must not be fetched, or is none."""
    if offline:
        raise UsageError(f"{clean(url)} would be fetched, and --offline says that nothing is.")
    if not urlsplit(url).hostname:
        raise UsageError(f"{clean(url)} is no address of a page.")
    return Source(clean(url), _read(url, password), 1)


def _read(url: str, password: str) -> Iterator[Item]:
    raw, kind = _fetch(url)
    suffix = _KINDS.get(kind) or PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()
    name = clean(url)
    with tempfile.TemporaryDirectory(prefix="ragqa-") as folder:
        path = Path(folder) / f"{PurePosixPath(unquote(urlsplit(url).path)).stem or 'page'}{suffix}"
        path.write_bytes(raw)
        try:
            yield from registry.read(File(path, name, name, password=password), suffix)
        except UnreadableError as error:
            yield Skipped(name, str(error), unread=True)


def _fetch(url: str) -> tuple[bytes, str]:
    """Return what is at an address, and what kind it says it is; raises RagqaError when it cannot be had."""
    request = urllib.request.Request(url, headers={"User-Agent": "ragqa", "Accept": "text/html, */*"})
    try:
        with urllib.request.build_opener(_OnlyWeb).open(request, timeout=PATIENCE_S) as answer:
            raw: bytes = answer.read(MOST_BYTES + 1)
            headers: Message = answer.headers
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RagqaError(f"{clean(url)} cannot be fetched: {clean(str(reason))}.") from error
    if len(raw) > MOST_BYTES:
        raise RagqaError(f"{clean(url)} is larger than {MOST_BYTES:,} bytes.")
    return raw, headers.get_content_type()


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows a page that has moved within the web, and to nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_url(newurl):
            raise urllib.error.URLError("it leads out of the web")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
