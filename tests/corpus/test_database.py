from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from ragqa import sqlite_file
from ragqa.corpus.database import KIND, Corpus
from ragqa.corpus.schema import migrations
from ragqa.errors import RagqaError


def test_the_header_counts_the_migrations() -> None:
    assert len(migrations._migrations) == KIND.version


@pytest.mark.parametrize("killed_before", ["the tables", "the version"])
def test_a_corpus_whose_making_was_killed_is_made_whole(tmp_path: Path, killed_before: str) -> None:
    path = tmp_path / "c.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA application_id = {KIND.application_id}")
        if killed_before == "the version":
            migrations.apply(Database(connection))
    connection.close()
    with Corpus.open(path) as corpus:
        assert corpus.count("documents") == 0
        assert corpus.connection.execute("PRAGMA user_version").fetchone()[0] == KIND.version


def test_a_locked_corpus_is_not_called_no_database(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(connection: sqlite3.Connection, name: str) -> int:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(sqlite_file, "pragma", locked)
    with pytest.raises(RagqaError, match="cannot be opened: database is locked"):
        Corpus.open(db)


def test_a_missing_corpus_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RagqaError, match="ragqa ingest SOURCE"):
        Corpus.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear SQLite, " * 100)
    with pytest.raises(RagqaError, match="not a SQLite database"):
        Corpus.open(path)
    assert path.read_text().startswith("Dear")


def test_a_damaged_corpus_is_called_damaged(db: Path) -> None:
    with db.open("r+b") as file:
        # The list of tables begins after the header.
        file.seek(100)
        file.write(b"\xff" * 900)
    with pytest.raises(RagqaError, match=r"is damaged \(database disk image is malformed\)"):
        Corpus.open(db)


def test_another_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "blog.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (id)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(RagqaError, match="--table"):
        Corpus.open(path, create=True)
    assert path.read_bytes() == before


def test_a_corpus_of_a_newer_version_is_refused(corpus: Corpus) -> None:
    corpus.connection.execute(f"PRAGMA user_version = {KIND.version + 1}")
    with pytest.raises(RagqaError, match="newer ragqa"):
        Corpus.open(corpus.path)


@pytest.fixture
def old(db: Path) -> Path:
    """The notes in a file as the second version made it."""
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript(
            "ALTER TABLE token_vectors DROP COLUMN members;"
            "DELETE FROM _sqlite_migrations WHERE name = 'm003_pooled_tokens';"
            "PRAGMA user_version = 2;"
        )
    db.chmod(0o640)
    return db


def test_a_corpus_of_an_older_version_is_upgraded_and_kept_as_it_was(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Corpus.open(old) as corpus:
        assert corpus.connection.execute("PRAGMA user_version").fetchone()[0] == KIND.version
        assert corpus.count("documents") == 4
    kept = old.with_name("notes.db.v2.bak")
    assert f"as it was, it is kept in {kept}" in caplog.text
    assert kept.stat().st_mode & 0o777 == 0o640
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (4,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(token_vectors)")]
    assert "members" not in columns
    # Once: what is up to date is not copied again.
    caplog.clear()
    Corpus.open(old).close()
    assert not caplog.text
    assert [path.name for path in old.parent.glob("notes.db.*bak*")] == [kept.name]


def test_a_copy_that_was_kept_is_never_overwritten(old: Path) -> None:
    kept = old.with_name("notes.db.v2.bak")
    kept.write_text("precious")
    # What a killed upgrade left is of no use to anybody.
    old.with_name("notes.db.v2.bak.2.part").write_text("half")
    old.with_name("notes.db.v2.bak.2.part-journal").write_text("half")
    Corpus.open(old).close()
    assert kept.read_text() == "precious"
    with closing(sqlite3.connect(old.with_name("notes.db.v2.bak.2"))) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (4,)
    assert not list(old.parent.glob("*.part*"))


def test_a_corpus_is_not_upgraded_where_no_copy_can_be_kept(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, to: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RagqaError, match="no copy of it could be kept: .*No space left"):
        Corpus.open(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert not list(old.parent.glob("*.part*"))


def test_a_folder_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(RagqaError, match="is a folder"):
        Corpus.open(tmp_path, create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_corpus_can_be_read_but_not_written(db: Path) -> None:
    db.chmod(0o444)
    with Corpus.open(db) as corpus:
        assert corpus.count("documents") == 4
        with pytest.raises(RagqaError, match="read-only"), corpus.writing():
            pass


def test_a_frozen_corpus_can_be_read_but_not_written(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with Corpus.open(db) as corpus:
        assert corpus.count("documents") == 4
        with pytest.raises(RagqaError, match="read-only"), corpus.writing():
            pass
        with pytest.raises(sqlite3.OperationalError, match="readonly"), corpus.transaction():
            corpus.connection.execute("DELETE FROM documents")


def test_a_question_never_runs_what_a_strangers_file_brought_along(corpus: Corpus) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unsafe use"):
        corpus.connection.execute("DELETE FROM documents")


def test_removing_a_document_removes_all_that_was_made_of_it(corpus: Corpus) -> None:
    before = corpus.count("token_vectors")
    assert corpus.remove(["tea.html", "nowhere"]) == 1
    assert corpus.count("token_vectors") < before
    orphans = "SELECT count(*) FROM token_vectors WHERE passage NOT IN (SELECT rowid FROM passages)"
    assert corpus.connection.execute(orphans).fetchone()[0] == 0


def test_a_migration_that_was_killed_amid_begins_anew(tmp_path: Path) -> None:
    """The fourth adds two columns; killed after the first it once ended with "duplicate column name"."""
    path = tmp_path / "c.db"
    Corpus.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE passages DROP COLUMN place")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm004_places'")
        connection.execute("PRAGMA user_version = 3")
    with Corpus.open(path) as corpus:
        columns = [row[1] for row in corpus.connection.execute("PRAGMA table_info(passages)")]
    assert "place" in columns
