"""SQLite files of ragqa's own: shared by threads, known by a mark in their header, kept up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.errors import RagqaError, unreadable

if TYPE_CHECKING:
    from sqlite_utils.migrations import Migrations


def shared_connection(database: Path | str, **options: Any) -> sqlite3.Connection:
    """Return a connection that several threads may use at once; `options` are those of `sqlite3.connect`.

    It keeps no statements. Since Python 3.12 two threads that execute the same SQL may be given the same
    kept statement, because whether one is in use is asked before its first row is read: one of them then
    binds its values under the other's rows, and gets wrong ones or an InterfaceError (7 queries of 100 with
    four threads on 3.12 and 3.13, none without kept statements). Preparing one anew costs some 5 µs.
    """
    opened: sqlite3.Connection = sqlite3.connect(
        database, check_same_thread=False, cached_statements=0, **options
    )
    return opened


@dataclass(frozen=True, slots=True)
class FileKind:
    """What tells a kind of file from others, and what is said of a file that is not of it.

    `application_id` stands in the header (https://www.sqlite.org/pragma.html#pragma_application_id), and so
    does `version`, how many migrations make today's tables, so that opening needs no table. `stranger` and
    `newer` are what is said of somebody else's database and of one that a newer ragqa wrote, `{path}` being
    its path.
    """

    application_id: int
    version: int
    stranger: str
    newer: str

    def check(self, path: Path, connection: sqlite3.Connection, upgrade: Callable[[], None]) -> None:
        """Refuse a file that is not of this kind, and let `upgrade` bring an empty or older one up to date.

        Raises RagqaError for one that is refused, damaged or no SQLite database; sqlite3.OperationalError for
        one that cannot be read now, such as a locked one.
        """
        try:
            # In the order opposite to that in which somebody else may be making them right now.
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            application, version = pragma(connection, "application_id"), pragma(connection, "user_version")
            if application != self.application_id and tables:
                raise RagqaError(self.stranger.format(path=path))
            if version > self.version:
                raise RagqaError(self.newer.format(path=path))
            if version < self.version:
                upgrade()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise unreadable(path, error) from error

    def upgrade(self, connection: sqlite3.Connection, migrations: Migrations) -> None:
        """Make today's tables in a new or older file. The caller keeps other writers out."""
        from sqlite_utils import Database

        # The mark comes first: killed at any point, the file is still known as ours.
        connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(connection))
        connection.execute(f"PRAGMA user_version = {self.version}")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of a pragma that is a number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
