"""A few hundred of the nightly cases, and by name each thing that they and their making found."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from ragqa.answer.citations import settled, without_strangers
from ragqa.answer.claims import content_words
from ragqa.answer.prompts import load_prompt, render_prompt
from ragqa.answer.sentences import answer_sentences
from ragqa.answer.stream import LONGEST_ANSWER, MOST_EMPTY, AnswerStream
from ragqa.config import ChunkSettings, dump_config, load_config
from ragqa.corpus.chunking import LONGEST_HEADING, LONGEST_PIECE, Chunker
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.questions import load_questions
from ragqa.language.match import MOST_TERMS, match_terms
from ragqa.sources import Fields, Skipped, open_sources
from ragqa.sources import sqlite as loader
from ragqa.sources import text as markup
from ragqa.sources.text import UnreadableError, read_markup
from ragqa.types import Document
from tests.stress.fuzz import limited
from tests.stress.nasty import QUERIES, WRITTEN
from tests.stress.targets import bomb, targets

MINIMAL = "retrieve: {type: fts}\n"


def items(*names: Path, fields: Fields | None = None, **options: str) -> list[Document | Skipped]:
    sources = open_sources([str(name) for name in names], fields or Fields(), **options)  # type: ignore[arg-type]
    return [item for source in sources for item in source.items]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.slow
def test_a_few_hundred_cases_of_every_kind(tmp_path: Path) -> None:
    patience = loader.PATIENCE_S
    for target in targets(tmp_path):
        target.try_many(round(20 * target.share), 7)
        assert target.findings == [], target.name
    assert patience == loader.PATIENCE_S


def test_a_query_that_writes_a_file_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (target,) = [target for target in targets(tmp_path) if target.name == "query"]
    for query in QUERIES:
        if WRITTEN in query:
            with pytest.raises(UsageError):
                target.run(query)

    def careless(names: list[str], fields: Fields, sql: str) -> list[object]:
        connection = sqlite3.connect(names[0])
        connection.execute(sql)
        connection.close()
        return []

    monkeypatch.setattr("tests.stress.targets.open_sources", careless)
    with pytest.raises(AssertionError):
        target.run(f"VACUUM INTO '{WRITTEN}'")


# -- YAML ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [False, True])
def test_aliases_of_aliases_take_no_time_and_no_memory(tmp_path: Path, merge: bool) -> None:
    path = written(tmp_path / "c.yaml", bomb(9, 9, merge))
    with limited(2), pytest.raises(UsageError, match="stands for more than"):
        load_config(str(path))
    with limited(2):
        text = read_markup(f"---\n{bomb(9, 9, merge)}\n---\nBody", "auto")
    assert text.metadata == {}
    assert "Body" in text.text


@pytest.mark.parametrize(
    "value",
    [
        '!!int ""', '!!float ""', "!!bool maybe", "!!timestamp never", "!!binary /w==", '"\\ud800"',
        ":".join(["59"] * 300) + ":59.5", "0x" + "f" * 9_000, "&a [*a]", "!!python/name:os.system",
    ],
)  # fmt: skip
def test_a_value_that_is_none_of_its_kind_is_an_error_of_the_config(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "c.yaml", f"{MINIMAL}options: {{a: {value}}}")
    with pytest.raises(UsageError, match="is not valid YAML"):
        load_config(str(path))


@pytest.mark.parametrize("text", ["[" * 30_000, "- " * 30_000, "? " * 30_000, "{a: " * 20_000])
def test_deep_yaml_ends_neither_the_process_nor_its_patience(tmp_path: Path, text: str) -> None:
    with limited(2), pytest.raises(UsageError, match="deep"):
        load_config(str(written(tmp_path / "c.yaml", text)))
    with limited(2), pytest.raises(UsageError, match="deep"):
        load_prompt(str(written(tmp_path / "p.yaml", text)))
    # libyaml, which read front matter, ran out of stack here.
    with limited(2):
        assert read_markup(f"---\n{text}\n---\nBody", "auto").metadata == {}


def test_numbers_without_measure_are_errors_of_the_config(tmp_path: Path) -> None:
    for line in ("k: 99999999999999999999", "candidates: 99999999999999999999", "refuse: .nan"):
        with pytest.raises(UsageError, match="is wrong"):
            load_config(str(written(tmp_path / "c.yaml", f"{MINIMAL}{line}")))


def test_a_date_among_the_options_can_be_written_again(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", f"{MINIMAL}options: {{a: 2024-01-01, b: [1, .5]}}")
    assert "2024-01-01" in dump_config(load_config(str(path)))


@pytest.mark.parametrize("name", ["a/" + "x" * 5_000 + ".yaml", "~nobody-of-that-name/x.yaml", "a\0/x.yaml"])
def test_names_that_no_file_can_have(name: str) -> None:
    for load in (load_config, load_prompt):
        with pytest.raises(UsageError):
            load(name)
    with pytest.raises(UsageError):
        items(Path(name))


@pytest.mark.parametrize("text", ["costs $5 $context $input", "${nothing} $context $input"])
def test_a_prompt_that_cannot_be_filled_is_refused_before_it_is_asked(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"\$"):
        load_prompt(str(written(tmp_path / "p.yaml", f"prompt: '{text}'")))


def test_braces_around_a_variable_are_as_good(tmp_path: Path) -> None:
    template = load_prompt(str(written(tmp_path / "p.yaml", "prompt: '${context}, $$5: ${input}'")))
    assert render_prompt(template, "why", "so").text == "so, $5: why"


# -- files --------------------------------------------------------------------------------------------


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with limited(2):
        for path in (tmp_path / "pipe.jsonl", tmp_path / "zero.yaml"):
            with pytest.raises(UsageError, match="no regular file"):
                load_questions(path)
            with pytest.raises(UsageError):
                items(path)
        with pytest.raises(UsageError, match="no regular file"):
            load_prompt(str(tmp_path / "zero.yaml"))


def test_file_names_that_are_no_text_are_stored_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with open(os.fsencode(tmp_path / "d") + b"/caf\xe9\n.md", "wb") as file:
        file.write(b"words")
    with Corpus.open(tmp_path / "c.db", create=True) as corpus:
        assert ingest(corpus, open_sources([str(tmp_path / "d")], Fields()), ChunkSettings()).added == 1


def test_a_glob_does_not_follow_folders_that_link_to_themselves(notes: Path) -> None:
    for name in ("a", "b", "c"):
        (notes / name).symlink_to(notes)
    with limited(2):
        assert len(items(notes / "**/*.md")) == 2


def test_a_file_or_a_line_that_is_too_large_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "MAX_DOCUMENT", 100)
    monkeypatch.setattr("ragqa.sources.records.MAX_DOCUMENT", 100)
    folder = tmp_path / "d"
    folder.mkdir()
    written(folder / "big.md", "a" * 101)
    assert [item.reason for item in items(folder)] == ["larger than 100 bytes"]  # type: ignore[union-attr]
    rows = [{"id": 1, "text": "a"}, {"id": 2, "text": "b" * 200}, {"id": 3, "text": "c"}]
    path = written(tmp_path / "r.jsonl", "\n".join(map(json.dumps, rows)))
    assert [item.id if isinstance(item, Document) else item.name for item in items(path)] == [
        "1",
        "r.jsonl:2",
        "3",
    ]
    path = written(tmp_path / "r.csv", f"id,text\n1,a\n2,{'b' * 200}\n3,c\n")
    assert [item.id for item in items(path) if isinstance(item, Document)] == ["1", "3"]
    assert any(isinstance(item, Skipped) and item.unread for item in items(path))


def test_an_unnamed_column_loses_no_row(tmp_path: Path) -> None:
    path = written(tmp_path / "frame.csv", ",id,text\n0,a,first\n1,b,second\n")
    assert [item.id for item in items(path) if isinstance(item, Document)] == ["a", "b"]


def test_records_that_cannot_be_stored_as_they_are(tmp_path: Path) -> None:
    deep = "[" * 800 + "]" * 800
    lines = [
        f'{{"id": 1, "text": {deep}, "meta": {deep}, "url": "http\\ud800"}}',
        '{"id": "../../etc/passwd", "text": "a", "meta": NaN}',
        json.dumps({"id": "a" * 2_000, "text": "a"}),
    ]
    path = written(tmp_path / "r.jsonl", "\n".join(lines))
    before = sorted(tmp_path.parent.iterdir())
    with Corpus.open(tmp_path / "c.db", create=True) as corpus:
        report = ingest(corpus, open_sources([str(path)], Fields(meta=("meta",))), ChunkSettings())
        assert report.added == 2
        assert [item.reason for item in report.skipped] == ["its id has more than 1,000 characters"]
    assert sorted(tmp_path.parent.iterdir()) == before


# -- markup -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["<!--", "<a ", "</", "<?", '<a href="', "<![CDATA["])
def test_tags_that_never_end_take_no_time(unit: str) -> None:
    with limited(5):
        assert read_markup("<p>first</p>" + unit * 20_000, "html").text.startswith("first")


def test_html_with_too_many_tags_is_skipped() -> None:
    with pytest.raises(UnreadableError, match="more than 200,000 tags"):
        read_markup("<p>" * 200_001, "html")


@pytest.mark.parametrize("start", ["²", "9" * 5_000, ""])
def test_a_list_may_begin_with_anything(start: str) -> None:
    assert "item" in read_markup(f"<ol start='{start}'><li>item</li></ol>", "html").text


def test_a_heading_with_many_spaces_takes_no_time() -> None:
    with limited(2):
        assert read_markup("# a" + " " * 19_000 + "b", "auto").title == "a b"
    assert read_markup("# Title ##\n\ntext", "auto").title == "Title"


def test_no_passage_heading_or_title_is_endless() -> None:
    chunker = Chunker(200, 0)
    for text in ("a" * 50_000, f"# {'h' * 5_000}\n\nSome words in a paragraph.", "\u200b" * 30_000):
        document = Document("a", "", text)
        for piece in chunker.pieces(document):
            assert len(piece.text) <= LONGEST_PIECE
            assert all(len(heading) <= LONGEST_HEADING for heading in piece.headings)
            assert document.text[piece.start : piece.end] == piece.text
    assert len(read_markup(f"---\ntitle: {'t' * 5_000}\n---\nx", "auto").title) == 1_000


@pytest.mark.parametrize("unit", ["漢", "_a_"])
def test_a_line_without_an_end_is_cut_in_time(unit: str) -> None:
    with limited(10):
        assert Chunker(200, 0).pieces(Document("a", "", unit * (60_000 // len(unit))))


# -- databases ----------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loader, "PATIENCE_S", 0.2)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE t (id PRIMARY KEY, body, text TEXT AS (upper(body)));"
        "INSERT INTO t (id, body) VALUES (1, 'a');"
        "CREATE VIEW broken AS SELECT * FROM missing;"
        f"CREATE VIEW endless AS {endless} SELECT max(x) AS id, 'a' AS text FROM c;"
        "CREATE VIEW evil AS SELECT 1 AS id, load_extension('/tmp/evil.so') AS text;"
        "CREATE VIRTUAL TABLE gone USING fts5 (id, text); PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE gone USING nowhere (a)' WHERE name = 'gone';"
    )
    connection.close()
    return path


@pytest.mark.parametrize("table", ["broken", "gone"])
def test_a_table_whose_schema_is_broken_is_refused(theirs: Path, table: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        items(theirs, table=table)


def test_a_view_that_never_gives_a_row_is_broken_off(theirs: Path) -> None:
    start = time.monotonic()
    (found,) = items(theirs, table="endless")
    assert isinstance(found, Skipped)
    assert found.unread
    assert time.monotonic() - start < 2


def test_a_schema_of_others_can_load_nothing(theirs: Path) -> None:
    with pytest.raises(UsageError, match="unsafe use of load_extension"):
        items(theirs, table="evil")


def test_a_generated_column_can_be_the_text(theirs: Path) -> None:
    (found,) = items(theirs, table="t", fields=Fields(text=("text",)))
    assert isinstance(found, Document)
    assert found.text == "A"


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "SELECT '\0'", "SELECT '\ud800'", "ATTACH '{x}' AS x", "VACUUM INTO '{x}'"]
)
def test_a_query_that_is_none_is_refused_and_writes_nothing(theirs: Path, sql: str) -> None:
    other = theirs.with_name("written.db")
    with pytest.raises(UsageError, match="query"):
        items(theirs, sql=sql.replace("{x}", str(other)))
    assert not other.exists()


# -- questions and what a model says ------------------------------------------------------------------


@pytest.mark.parametrize("text", ["<top" * 50_000, "<top><num>" + " " * 50_000 + "<title>x"])
def test_topics_that_never_end_take_no_time(tmp_path: Path, text: str) -> None:
    with limited(2), pytest.raises(UsageError):
        load_questions(written(tmp_path / "topics.txt", text))


def test_a_grade_that_no_measure_bears_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", '{"question": "a", "relevant": {"d": 99999}}')
    with pytest.raises(UsageError, match="whole number up to"):
        load_questions(path)


def test_a_question_of_thousands_of_words_asks_for_some_hundreds() -> None:
    assert len(match_terms(" ".join(f"w{number}" for number in range(5_000)), frozenset())) == MOST_TERMS


def test_a_model_that_does_not_stop_is_stopped() -> None:
    endless = map(AnswerStream([1]).add, itertools.repeat("word. [1] \n\n", LONGEST_ANSWER))
    with limited(30), pytest.raises(RagqaError, match="did not stop"):
        list(endless)
    empty = map(AnswerStream([1]).add, itertools.repeat("", MOST_EMPTY + 2))
    with limited(5), pytest.raises(RagqaError, match="said nothing"):
        list(empty)


def test_a_long_answer_without_a_paragraph_is_streamed_in_time() -> None:
    said = ["Some words, [9] and `more` [1]. "] * 1_250
    stream = AnswerStream([1])
    with limited(10):
        text = "".join([stream.add(piece) for piece in said]) + stream.finish()
    assert text == without_strangers("".join(said), [1])[0]
    assert stream.removed == [9]


def test_many_spaces_and_abbreviations_take_no_time() -> None:
    with limited(3):
        assert settled("a" + " " * 50_000 + "b") == 50_002
        assert len(answer_sentences("e.g. A " * 14_000)) == 1
        content_words("A. " * 30_000)
