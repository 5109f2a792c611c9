"""The corpus file: opening it safely, locking out a second writer, reading documents and passages."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable
from urllib.parse import quote

from filelock import FileLock, Timeout

from ragqa.corpus.places import read_parts, read_place
from ragqa.errors import BusyError, RagqaError
from ragqa.safety.untrusted import for_line
from ragqa.sqlite_file import FileKind, pragma, shared_connection
from ragqa.types import Document, Passage

KIND = FileKind(
    application_id=0x72677161,  # "rgqa"
    version=4,
    stranger="{path} is a SQLite database, but not a ragqa corpus. "
    "To read documents from it: ragqa ingest {path} --table TABLE",
    newer="The corpus {path} was written by a newer ragqa: upgrade to read it.",
)
BUSY_TIMEOUT_S = 10.0
# SQLite's own default limit on bound variables was 999 for long; stay under it everywhere.
VARIABLES = 900

# What is worth telling on stderr of a file that is only being opened, whichever face opens it.
_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")

_PASSAGE_COLUMNS = """
    p.rowid, d.id, p.ordinal, p.start, p.end, p.title, p.headings, p.text, d.source, d.metadata, p.place
    FROM passages p JOIN documents d ON d.rowid = p.document
"""


@runtime_checkable
class RowSource(Protocol):
    """What has rows of passages that are in no corpus file, made by the encoders of one."""

    def rows(self, table: str, fingerprint: str, passages: Sequence[Passage]) -> dict[int, tuple[Any, ...]]:
        """Return the rows that there are for a store's table and fingerprint, by the passages' keys."""


class Corpus:
    """An open corpus file. Use as a context manager, or call `close`.

    Readers never block: the file is in WAL mode. Writers hold `writing()` for a whole command.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self.connection = connection
        self._lock = FileLock(f"{path}.lock")
        self._folder: TemporaryDirectory[str] | None = None
        self.in_snapshot = False
        self._afterwards: list[Callable[[], None]] = []
        # Where rows of passages lie that this file has not.
        self.elsewhere: list[RowSource] = []

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False) -> Self:
        """Open the corpus at `path`; with `create`, make it first where there is none.

        Raises RagqaError when there is no file, the file is not a corpus, or it was written by a
        newer ragqa.
        """
        path = Path(path).expanduser()
        if path.is_dir():
            raise RagqaError(f"{path} is a folder, and a corpus is one file.")
        if not path.exists():
            if not create:
                raise RagqaError(f"There is no corpus at {path} yet: ragqa ingest SOURCE makes one.")
            _make_parent(path)
        writable = not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        if not writable and create:
            raise RagqaError(f"The corpus {path} cannot be written: it or its folder is read-only.")
        try:
            corpus = cls(path, _connect(path, writable=writable), writable=writable)
        except sqlite3.OperationalError as error:
            raise RagqaError(f"The corpus {path} cannot be opened: {error}.") from error
        try:
            corpus._check()
        except BaseException:
            corpus.close()
            raise
        return corpus

    @classmethod
    def temporary(cls) -> Self:
        """Return an empty corpus that is gone when it is closed: for stages that search elsewhere."""
        folder = TemporaryDirectory(prefix="ragqa-")
        corpus = cls.open(Path(folder.name) / "corpus.db", create=True)
        corpus._folder = folder
        return corpus

    def close(self) -> None:
        self.connection.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        """Refuse a file that is not ours, and bring an empty or older one up to date."""
        try:
            KIND.check(self.path, self.connection, self._migrate)
        except sqlite3.OperationalError as error:
            raise RagqaError(f"The corpus {self.path} cannot be opened: {error}.") from error

    def _migrate(self) -> None:
        from ragqa.corpus.schema import migrations

        if not self.writable:
            raise RagqaError(f"The corpus {self.path} needs an upgrade, but it is read-only.")
        with self.writing():
            self._back_up()
            KIND.upgrade(self.connection, migrations)

    def _back_up(self) -> None:
        """Keep a copy of a file with documents as `NAME.vVERSION.bak`, before a migration changes it."""
        # Asked again, since somebody else may have migrated it while this process waited for its turn.
        version = pragma(self.connection, "user_version")
        if version == KIND.version or not self._has_documents():
            return
        kept = _first_free(self.path.with_name(f"{self.path.name}.v{version}.bak"))
        part = kept.with_name(f"{kept.name}.part")
        try:
            _remove_copy(part)  # a killed process left it
            part.touch(mode=0o600)
            with closing(sqlite3.connect(part)) as copy:
                self.connection.backup(copy)
            shutil.copymode(self.path, part)
            part.rename(kept)
        except (OSError, sqlite3.Error) as error:
            _remove_copy(part)
            raise RagqaError(
                f"The corpus {self.path} needs an upgrade, but no copy of it could be kept: {error}. "
                "It is as it was."
            ) from error
        _log.warning("%s", for_line(f"Upgrading the corpus {self.path}; as it was, it is kept in {kept}."))

    def _has_documents(self) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'documents'"
        made = self.connection.execute(query).fetchone()[0]
        return bool(made and self.count("documents"))

    # -- writing ------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, wait_s: float = BUSY_TIMEOUT_S) -> Iterator[None]:
        """Be the only process that writes to this corpus while the block runs.

        Raises RagqaError when the corpus is read-only or another process keeps writing for `wait_s`, and
        within a snapshot. The lock belongs to the process, so a killed one leaves none behind.
        """
        if self.in_snapshot:
            raise BusyError(f"A question is reading {self.path}. Try again when it is answered.")
        if not self.writable:
            raise RagqaError(f"The corpus {self.path} cannot be written: it or its folder is read-only.")
        try:
            with self._lock.acquire(timeout=wait_s):
                yield
        except Timeout as error:
            raise BusyError(
                f"Another process is writing to {self.path}. Try again when it has finished."
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block writes as one piece, or none of it.

        Only here may the file's triggers reach its full-text tables, which SQLite counts as a risk:
        a question never runs what a stranger's corpus file brought along.
        """
        self.connection.execute("PRAGMA trusted_schema = ON")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.rollback()
            raise
        finally:
            self.connection.execute("PRAGMA trusted_schema = OFF")

    # -- snapshots ----------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that the block reads be of one state of the file, whatever is written meanwhile.

        Within another such block it is that one's state. Nothing is written in it: see `afterwards`.
        """
        if self.in_snapshot:
            yield
            return
        self.in_snapshot = True
        try:
            self.connection.execute("BEGIN")
            # The state is that of the first read.
            self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            yield
        finally:
            self.in_snapshot = False
            self.connection.rollback()
            waiting, self._afterwards = self._afterwards, []
        for write in waiting:
            write()

    def afterwards(self, write: Callable[[], None]) -> None:
        """Call `write` at once, or within a snapshot when that ends, unless it ends with an error."""
        if self.in_snapshot:
            self._afterwards.append(write)
        else:
            write()

    # -- settings -----------------------------------------------------------------------------

    def setting(self, name: str) -> Any:
        """Return the setting `name`, or None when it was never set."""
        row = self.connection.execute("SELECT value FROM settings WHERE name = ?", [name]).fetchone()
        return None if row is None else json.loads(row[0])

    def set_setting(self, name: str, value: Any) -> None:
        self.connection.execute(
            "INSERT INTO settings (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [name, json.dumps(value, sort_keys=True)],
        )

    # -- reading ------------------------------------------------------------------------------

    def count(self, table: str) -> int:
        """Return the number of rows of `table`, one of this file's own tables."""
        return int(self.connection.execute(f"SELECT count(*) FROM [{table}]").fetchone()[0])

    def state(self) -> tuple[int, int]:
        """Return a value that changes with every change of the file, by this connection or another.

        What was read of the file may be kept in memory as long as it stays the same.
        """
        return pragma(self.connection, "data_version"), self.connection.total_changes

    def fingerprint(self) -> str:
        """SHA-256 of all documents, by id and content, and of how they are cut."""
        digest = hashlib.sha256(json.dumps(self.setting("chunk"), sort_keys=True).encode())
        for row in self.connection.execute("SELECT id, content_hash FROM documents ORDER BY id"):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def existing(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that there are documents of."""
        found: set[str] = set()
        for batch in batches(document_ids):
            marks = ",".join("?" * len(batch))
            rows = self.connection.execute(f"SELECT id FROM documents WHERE id IN ({marks})", batch)
            found.update(row[0] for row in rows)
        return found

    def document(self, document_id: str) -> Document | None:
        row = self.connection.execute(
            "SELECT id, title, text, source, metadata, format, parts FROM documents WHERE id = ?",
            [document_id],
        ).fetchone()
        if row is None:
            return None
        id, title, text, source, metadata, format, parts = row
        return Document(id, title, text, source, json.loads(metadata), format, read_parts(parts))

    def passages(self, rowids: Sequence[int]) -> list[Passage]:
        """Return the passages with these keys, in the order given; those that are gone are left out."""
        found: dict[int, Passage] = {}
        for batch in batches(rowids):
            marks = ",".join("?" * len(batch))
            rows = self.connection.execute(f"SELECT {_PASSAGE_COLUMNS} WHERE p.rowid IN ({marks})", batch)
            found.update((row[0], _passage(row)) for row in rows)
        return [found[rowid] for rowid in rowids if rowid in found]

    def remove(self, document_ids: Sequence[str]) -> int:
        """Delete these documents with all that was derived from them; return how many there were."""
        removed = 0
        with self.transaction():
            for batch in batches(document_ids):
                marks = ",".join("?" * len(batch))
                cursor = self.connection.execute(f"DELETE FROM documents WHERE id IN ({marks})", batch)
                removed += cursor.rowcount
        return removed


def batches(items: Sequence[_Item], size: int = VARIABLES) -> Iterable[Sequence[_Item]]:
    """Yield `items` in runs of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _passage(row: tuple[Any, ...]) -> Passage:
    rowid, document_id, ordinal, start, end, title, headings, text, source, metadata, place = row
    return Passage(
        rowid=rowid,
        document_id=document_id,
        ordinal=ordinal,
        start=start,
        end=end,
        title=title,
        headings=tuple(headings.split("\n")) if headings else (),
        text=text,
        source=source,
        metadata=json.loads(metadata),
        place=read_place(place),
    )


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    # Without the right to make a -shm file, a WAL database can only be read as one that nobody
    # changes; that is true of it unless a write-ahead log with something in it lies beside it.
    log = path.with_name(path.name + "-wal")
    frozen = not (log.exists() and log.stat().st_size)
    mode = "mode=rwc" if writable else "mode=ro&immutable=1" if frozen else "mode=ro"
    connection = shared_connection(
        f"file:{quote(str(path.absolute()))}?{mode}", uri=True, timeout=BUSY_TIMEOUT_S
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _first_free(path: Path) -> Path:
    """Return `path`, or with the first number behind it that no file has: a copy is never overwritten."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _remove_copy(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RagqaError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
