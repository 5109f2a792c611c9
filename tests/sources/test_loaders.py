from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from ragqa.errors import UsageError
from ragqa.sources import Fields, Skipped, open_sources, sqlite
from ragqa.types import Document


def load(*names: Path, fields: Fields | None = None, **options: object) -> list[Document | Skipped]:
    sources = open_sources([str(name) for name in names], fields or Fields(), **options)  # type: ignore[arg-type]
    return [item for source in sources for item in source.items]


def documents(*names: Path, fields: Fields | None = None, **options: object) -> dict[str, Document]:
    found = [item for item in load(*names, fields=fields, **options) if isinstance(item, Document)]
    return {document.id: document for document in found}


def skipped(*names: Path, fields: Fields | None = None) -> dict[str, str]:
    return {item.name: item.reason for item in load(*names, fields=fields) if isinstance(item, Skipped)}


def test_a_folder_gives_a_document_per_file_with_titles_and_dates(notes: Path) -> None:
    found = documents(notes)
    assert list(found) == ["bicycle.md", "coffee.md", "garden.txt", "tea.html"]
    assert found["coffee.md"].title == "Making coffee"
    assert found["coffee.md"].metadata == {"date": "2024-03-01"}
    assert found["bicycle.md"].title == "Repairing a bicycle"
    assert found["garden.txt"].format == "text"


def test_html_keeps_code_lists_and_headings_and_loses_scripts(notes: Path) -> None:
    tea = documents(notes)["tea.html"]
    assert tea.title == "Brewing tea"
    assert "# Brewing tea" in tea.text
    assert "- Black tea wants boiling water." in tea.text
    assert "```\nkettle --temp 70\n```" in tea.text
    assert "alert" not in tea.text
    assert "Home" not in tea.text


def test_a_code_block_keeps_its_language(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text('<body><pre><code class="language-python">x = 1</code></pre></body>')
    assert "```python\nx = 1\n```" in documents(page)["a.html"].text


def test_hidden_files_and_unreadable_ones_never_stop_the_rest(notes: Path) -> None:
    (notes / ".hidden.md").write_text("secret")
    (notes / "latin.md").write_bytes("caf\xe9".encode("latin-1"))
    (notes / "binary.txt").write_bytes(b"a\0b")
    (notes / "empty.md").write_text(" \n")
    os.mkfifo(notes / "pipe.md")
    (notes / "loop").symlink_to(notes)
    assert len(documents(notes)) == 4
    assert skipped(notes) == {
        "latin.md": "not UTF-8",
        "binary.txt": "not text (it holds NUL bytes)",
        "empty.md": "empty",
        "pipe.md": "not a regular file",
    }


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# Title\n\nText")
    (tmp_path / "b.md").write_bytes("# Über\n\nText".encode("utf-16"))
    found = documents(tmp_path)
    assert (found["a.md"].title, found["b.md"].title) == ("Title", "Über")


def test_a_quoted_glob_and_single_files_have_the_ids_of_the_folder(notes: Path) -> None:
    assert list(documents(notes / "*.md")) == ["bicycle.md", "coffee.md"]
    assert list(documents(notes / "coffee.md")) == ["coffee.md"]


def test_json_lines_with_named_fields_and_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "notes.ndjson"
    rows = [
        json.dumps({"slug": "a", "title": "A", "body": "<p>Hello</p><p>World</p>", "topic": "x", "n": 1}),
        "{broken",
        json.dumps(["a list"]),
        json.dumps({"slug": "", "body": "no id"}),
        json.dumps({"slug": "b", "title": "B", "body": "\ud800 lone surrogate \x00 nul"}),
        json.dumps({"slug": "c", "title": "C", "body": ""}),
        json.dumps({"slug": "d", "title": " ", "body": ""}),
    ]
    path.write_text("\n".join(rows))
    fields = Fields(id="slug", text=("body",), meta=("topic", "n"))
    found = documents(path, fields=fields)
    assert found["a"].text == "Hello\n\nWorld"
    assert found["a"].metadata == {"topic": "x", "n": 1}
    assert found["b"].text.encode("utf-8")
    assert "\0" not in found["b"].text
    assert found["c"].text == "C"
    assert skipped(path, fields=fields) == {
        "notes.ndjson:2": "not valid JSON",
        "notes.ndjson:3": "not a JSON object",
        "notes.ndjson:4": "no 'slug' to identify it",
        "d": "empty",
    }


def test_a_field_may_be_missing_from_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "1", "text": "one"}\n{"id": "2", "text": "two", "topic": "x"}')
    found = documents(path, fields=Fields(meta=("topic",)))
    assert [document.metadata for document in found.values()] == [{}, {"topic": "x"}]


def test_beir_is_recognised_as_file_and_as_folder(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "7", "title": "T", "text": "Body", "metadata": {}}))
    assert documents(path) == documents(tmp_path)
    assert documents(path)["7"].title == "T"


@pytest.mark.parametrize(("suffix", "comma"), [(".csv", ","), (".tsv", "\t")])
def test_csv_and_tsv(tmp_path: Path, suffix: str, comma: str) -> None:
    path = tmp_path / f"rows{suffix}"
    lines = [["id", "title", "text"], ["1", "One", '"two\nlines"'], ["2", "Two", "text", "too many"]]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(comma.join(line) for line in lines).encode())
    assert documents(path)["1"].text == "two\nlines"
    assert list(skipped(path).values()) == ["more fields than the header names"]


def test_fields_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("number,words\n1,hello")
    with pytest.raises(UsageError, match=r"no field 'body'. It has: number, words"):
        load(path, fields=Fields(text=("body",)))
    with pytest.raises(UsageError, match=r"--id: number, words"):
        load(path)
    with pytest.raises(UsageError, match=r"--text: number, words"):
        load(path, fields=Fields(id="number"))


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    path = tmp_path / "blog.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (pk INTEGER PRIMARY KEY, title, body, extra, created)")
        connection.execute("INSERT INTO entry VALUES (1, 'One', '<p>First</p>', 'more', '2020-01-01')")
        connection.execute("INSERT INTO entry VALUES (2, 'Two', NULL, NULL, NULL)")
        connection.execute("INSERT INTO entry VALUES (4, NULL, ' ', NULL, NULL)")
        connection.execute("INSERT INTO entry VALUES (3, 'Three', CAST(x'636166e9' AS TEXT), NULL, NULL)")
        connection.execute("CREATE VIEW recent AS SELECT * FROM entry WHERE pk = 1")
    connection.close()
    return path


def test_a_table_gives_a_document_per_row_by_its_primary_key(blog: Path) -> None:
    fields = Fields(text=("body", "extra"), meta=("created",))
    found = documents(blog, fields=fields, table="entry")
    assert list(found) == ["1", "2"]
    assert found["1"].text == "First\n\nmore"
    assert found["2"].text == "Two"
    assert found["1"].metadata == {"created": "2020-01-01"}


def test_rows_that_are_empty_or_not_utf8_are_named(blog: Path) -> None:
    items = load(blog, table="entry")
    assert [item.reason for item in items if isinstance(item, Skipped)] == ["not UTF-8", "empty"]


def test_views_and_queries_can_be_read_but_nothing_written(blog: Path) -> None:
    assert list(documents(blog, fields=Fields(id="pk"), table="recent")) == ["1"]
    sql = "SELECT 'x' || pk AS id, title, body AS text FROM entry WHERE pk = 1"
    assert list(documents(blog, sql=sql)) == ["x1"]
    with pytest.raises(UsageError, match="readonly"):
        load(blog, sql="DELETE FROM entry RETURNING pk AS id, body AS text")


def test_whoever_takes_rows_slowly_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text)")
        connection.executemany("INSERT INTO note VALUES (?, 'word')", [(n,) for n in range(2_000)])
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.2)
    monkeypatch.setattr(sqlite, "_STEPS", 10)
    (source,) = open_sources([str(path)], Fields(), table="note")
    items = iter(source.items)
    first = next(items)
    time.sleep(0.4)
    assert all(isinstance(item, Document) for item in [first, *items])


def test_an_unknown_table_comes_with_the_known_ones(blog: Path) -> None:
    with pytest.raises(UsageError, match=r"no table 'posts'. Tables there: entry, recent"):
        load(blog, table="posts")
    with pytest.raises(UsageError, match=r"--table. Tables there: entry, recent"):
        load(blog)


def test_installed_packages_describe_themselves() -> None:
    found = documents(packages=True)
    assert "ragqa" not in found
    assert "sqlite-utils" in found
    assert "SQLite" in found["sqlite-utils"].text
    assert found["sqlite-utils"].source.startswith("http")


def test_a_prefix_tells_two_sources_with_the_same_ids_apart(notes: Path) -> None:
    assert list(documents(notes / "coffee.md", fields=Fields(id_prefix="mine/"))) == ["mine/coffee.md"]


@pytest.mark.parametrize("name", ["missing.md", "missing/*.md"])
def test_what_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        load(tmp_path / name)


def test_a_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.raw").write_bytes(b"\xff\xd8")
    with pytest.raises(UsageError, match="cannot tell what"):
        load(tmp_path / "photo.raw")
