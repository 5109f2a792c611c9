"""Zip archives: their readable members, each a document `archive.zip/inner/report.pdf`."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ragqa.config import MAX_DOCUMENT
from ragqa.sources import registry
from ragqa.sources.loader import File
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import UnreadableError, clean

# An archive that holds more is read no further: members, bytes in all once unpacked.
MOST_MEMBERS = 20_000
MOST_BYTES = 2 * 2**30
# A member may be so many times as large unpacked as packed, beyond a first megabyte.
MOST_RATIO = 200


def read(file: File) -> Iterator[Item]:
    """Yield the documents of the members; an archive in it is named and not opened."""
    try:
        archive = zipfile.ZipFile(file.path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnreadableError("damaged (no zip archive)") from error
    unpacked = 0
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members[:MOST_MEMBERS]:
            inner = _inner(file, member)
            if inner is None:
                continue
            unpacked += member.file_size
            if unpacked > MOST_BYTES:
                yield Skipped(file.name, f"more than {MOST_BYTES:,} bytes unpacked", unread=True)
                return
            yield from _member(archive, member, inner)
    if len(members) > MOST_MEMBERS:
        yield Skipped(file.name, f"more than {MOST_MEMBERS:,} files", unread=True)


def _inner(file: File, member: zipfile.ZipInfo) -> File | None:
    """Return the member as a file to read; None for what is hidden, as in a folder."""
    name = clean(PurePosixPath(member.filename.replace("\\", "/")).as_posix()).lstrip("/")
    parts = PurePosixPath(name).parts
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    return File(file.path, f"{file.name}/{name}", f"{file.source}/{name}", file.format, file.password)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, inner: File) -> Iterator[Item]:
    suffix = PurePosixPath(inner.name).suffix.lower()
    if suffix == ".zip":
        yield Skipped(inner.name, "an archive in an archive", kind=suffix)
        return
    if member.file_size > MAX_DOCUMENT or member.file_size > MOST_RATIO * member.compress_size + 2**20:
        yield Skipped(inner.name, f"larger than {MAX_DOCUMENT:,} bytes, or packed too well", unread=True)
        return
    with tempfile.TemporaryDirectory(prefix="ragqa-") as folder:
        path = Path(folder) / f"{PurePosixPath(inner.name).stem or 'member'}{suffix}"
        try:
            with archive.open(member, pwd=inner.password.encode() or None) as packed:
                # What the directory says of its size need not be so.
                raw = packed.read(MAX_DOCUMENT + 1)
        except RuntimeError:
            yield Skipped(inner.name, "encrypted (--password)", unread=True)
            return
        except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, OSError, ValueError):
            yield Skipped(inner.name, "damaged", unread=True)
            return
        if len(raw) > MAX_DOCUMENT:
            yield Skipped(inner.name, f"larger than {MAX_DOCUMENT:,} bytes", unread=True)
            return
        path.write_bytes(raw)
        try:
            yield from registry.read(
                File(path, inner.name, inner.source, inner.format, inner.password), suffix
            )
        except UnreadableError as error:
            yield Skipped(inner.name, str(error), unread=True)
