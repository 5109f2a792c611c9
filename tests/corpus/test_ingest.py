from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ragqa.config import ChunkSettings
from ragqa.corpus import ingest as ingest_module
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import IngestReport, check_chunking, content_hash, ingest, rechunk_documents
from ragqa.errors import RagqaError, UsageError
from ragqa.sources import Fields, open_sources


def run(path: Path, *sources: Path, fields: Fields | None = None, **options: bool) -> IngestReport:
    with Corpus.open(path, create=True) as corpus:
        opened = open_sources([str(source) for source in sources], fields or Fields())
        return ingest(corpus, opened, ChunkSettings(), **options)


def passages(path: Path) -> dict[str, int]:
    with Corpus.open(path) as corpus:
        return dict(corpus.connection.execute("SELECT text, rowid FROM passages").fetchall())


def test_ingesting_again_changes_only_what_changed(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    first = run(path, notes)
    assert (first.added, first.replaced, first.unchanged) == (4, 0, 0)
    before = passages(path)
    stat = (notes / "garden.txt").stat()
    (notes / "garden.txt").write_text("Tomatoes need six hours of sun.\n\nPrune in spring.")
    (notes / "new.md").write_text("# New\n\nNew words.")
    os.utime(notes / "garden.txt", (stat.st_atime, stat.st_mtime))
    again = run(path, notes)
    assert (again.added, again.replaced, again.unchanged) == (1, 1, 3)
    after = passages(path)
    kept = {text: rowid for text, rowid in before.items() if "leaves" not in text}
    assert kept.items() <= after.items()
    assert not any("leaves" in text for text in after)


def test_a_file_that_was_only_touched_is_unchanged(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    before = passages(path)
    os.utime(notes / "garden.txt", (86_400, 86_400))
    again = run(path, notes)
    assert (again.added, again.replaced, again.unchanged) == (0, 0, 4)
    assert passages(path) == before
    with Corpus.open(path) as corpus:
        garden, coffee = (corpus.document(name) for name in ("garden.txt", "coffee.md"))
    assert garden
    assert garden.metadata["modified"] == "1970-01-02T00:00:00+00:00"
    # What a document says of its own date is a part of it.
    assert coffee
    assert "modified" not in coffee.metadata
    (notes / "coffee.md").write_text((notes / "coffee.md").read_text().replace("2024-03-01", "2024-03-02"))
    assert run(path, notes).replaced == 1


def test_a_corpus_of_before_has_its_files_times_taken_out_of_the_hashes(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    with Corpus.open(path) as corpus, corpus.transaction():
        document = corpus.document("garden.txt")
        assert document
        before = ingest_module._hash(document, document.metadata)
        query = "UPDATE documents SET content_hash = ? WHERE id = 'garden.txt'"
        corpus.connection.execute(query, [before])
    assert run(path, notes).unchanged == 4
    with Corpus.open(path) as corpus:
        row = corpus.connection.execute(
            "SELECT content_hash FROM documents WHERE id = 'garden.txt'"
        ).fetchone()
    assert row[0] == content_hash(document) != before


def test_a_changed_document_keeps_the_passages_that_did_not_change(tmp_path: Path) -> None:
    parts = [f"## Part {number}\n\n" + f"word{number} " * 120 for number in range(6)]
    note = tmp_path / "long.md"
    note.write_text("\n\n".join(parts))
    run(tmp_path / "c.db", note)
    before = passages(tmp_path / "c.db")
    parts[2] = "## Part 2\n\nsomething else"
    note.write_text("\n\n".join(parts))
    run(tmp_path / "c.db", note)
    after = passages(tmp_path / "c.db")
    assert len(before.keys() & after.keys()) >= 5
    assert all(before[text] == after[text] for text in before.keys() & after.keys())


def test_prune_removes_what_is_gone_from_the_same_source_only(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    other = tmp_path / "other"
    other.mkdir()
    (other / "keep.md").write_text("# Keep\n\nme")
    run(path, notes, other)
    (notes / "tea.html").unlink()
    assert run(path, notes).pruned == 0
    assert run(path, notes, prune=True).pruned == 1
    with Corpus.open(path) as corpus:
        assert corpus.document("tea.html") is None
        assert corpus.document("keep.md") is not None
        assert corpus.connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_nothing_is_pruned_when_the_source_was_not_read_whole(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    report = run(path, notes / "coffee.md", prune=True)
    assert (report.pruned, report.prune_refused) == (0, True)
    (notes / "tea.html").write_bytes(b"\xff\xfe\xff")
    report = run(path, notes, prune=True)
    assert (report.pruned, report.prune_refused) == (0, True)


def test_an_id_of_another_source_is_skipped_unless_taken_over(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    other = tmp_path / "other"
    other.mkdir()
    (other / "coffee.md").write_text("# Another coffee")
    assert [item.name for item in run(path, other).skipped] == ["coffee.md"]
    assert run(path, other, fields=Fields(id_prefix="other/")).added == 1
    assert run(path, other, take_over=True).replaced == 1


def test_duplicate_ids_in_one_source_keep_the_first(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n1,first\n1,second\n")
    report = run(tmp_path / "c.db", rows)
    assert (report.added, len(report.skipped)) == (1, 1)
    assert "duplicate id" in report.skipped_lines()[0]
    assert list(passages(tmp_path / "c.db")) == ["first"]


def test_a_corpus_cut_otherwise_is_refused_until_cut_again(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    small = ChunkSettings(tokens=16)
    with Corpus.open(path) as corpus:
        before = corpus.count("passages")
        with pytest.raises(UsageError, match="--rechunk"):
            check_chunking(corpus, small)
        assert rechunk_documents(corpus, small) == 4
        check_chunking(corpus, small)
        assert corpus.count("passages") > before


def test_a_corpus_cut_by_another_version_is_stale(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    monkeypatch.setattr(ingest_module, "VERSION", 99)
    with Corpus.open(path) as corpus:
        with pytest.raises(UsageError, match="cut by another version"):
            check_chunking(corpus, ChunkSettings())
        rechunk_documents(corpus, ChunkSettings())
        check_chunking(corpus, ChunkSettings())


def test_a_second_writer_is_told_and_readers_go_on(notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    run(path, notes)
    with Corpus.open(path) as writer, Corpus.open(path) as other:
        with writer.writing(), writer.transaction():
            writer.connection.execute("DELETE FROM documents WHERE id = 'tea.html'")
            with pytest.raises(RagqaError, match="Another process is writing"), other.writing(wait_s=0.1):
                pass
            assert other.document("tea.html") is not None
        assert other.document("tea.html") is None


@pytest.mark.slow
def test_a_killed_ingest_leaves_a_valid_file_and_resumes(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n" + "\n".join(f"{n},{'word ' * 300}{n}" for n in range(3000)))
    path = tmp_path / "c.db"
    command = [sys.executable, "-m", "ragqa", "ingest", str(rows), "--db", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = 0
    deadline = time.monotonic() + 60
    while done == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
        if path.exists():
            try:
                with sqlite3.connect(path) as reader:
                    done = reader.execute("SELECT count(*) FROM documents").fetchone()[0]
                reader.close()
            except sqlite3.OperationalError:
                continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < done < 3000
    with Corpus.open(path) as corpus:
        assert corpus.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        stored = corpus.count("documents")
    report = run(path, rows)
    assert report.unchanged == stored
    assert report.added == 3000 - stored
