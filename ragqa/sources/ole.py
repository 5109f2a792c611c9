"""OLE, the container of Office files before 2007, and of encrypted ones ever since."""

from __future__ import annotations

from ragqa.sources.loader import File
from ragqa.sources.text import UnreadableError

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def refuse_encrypted(file: File) -> None:
    """Raise UnreadableError for a file of today's Office that is in this container: it is encrypted."""
    with file.path.open("rb") as opened:
        if opened.read(len(_MAGIC)) == _MAGIC:
            raise UnreadableError("encrypted, or of an Office before 2007")
