"""A corpus pushed to a Lance dataset: the same hits there, only what changed goes, nobody sees half of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragqa.config import parse_config
from ragqa.corpus.database import Corpus
from ragqa.errors import BusyError, RagqaError
from ragqa.index.lance import dataset
from ragqa.operations import indexes
from ragqa.operations import push as pushing
from ragqa.operations.corpus import remove_documents
from ragqa.operations.push import PushReport, push
from ragqa.pipeline import Pipeline
from ragqa.retrieve.lance import LanceRetriever
from ragqa.sources import Fields
from tests.conftest import NOTES, Run, fill, write_notes

pytest.importorskip("lancedb", reason="LanceDB is not installed: pip install 'ragqa[scale]'")

QUESTIONS = ("How warm is green tea steeped?", "oil for the chain", "litre of water", "sun")
LANCE = {"type": "lancedb", "exact": True}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readers look for another push at every question."""
    monkeypatch.setattr(dataset, "REFRESH_S", 0.0)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "lance")


def pipeline_of(retrieve: dict[str, Any], db: Path | None = None, **others: Any) -> Pipeline:
    return Pipeline.from_config(parse_config({"retrieve": retrieve, **others}, "test"), db)


def pushed(db: Path, place: str, config: str = "default", **options: Any) -> PushReport:
    with Pipeline.from_config(config, db) as pipeline:
        return push(pipeline, place, **options)


def found(pipeline: Pipeline, question: str, k: int = 10) -> list[tuple[str, float]]:
    return [(hit.passage.id, pytest.approx(hit.score, abs=2e-6)) for hit in pipeline.search(question, k).hits]


SAME = [
    ({"mode": "dense"}, {"type": "dense"}),
    ({"mode": "multivector"}, {"type": "colbert-index"}),
]


@pytest.mark.parametrize(("mode", "stage"), SAME)
def test_all_vectors_compared_it_finds_what_sqlite_finds(
    db: Path, place: str, mode: dict[str, Any], stage: dict[str, Any]
) -> None:
    pushed(db, place, multivector=True)
    with pipeline_of({**LANCE, **mode, "uri": place}) as there, pipeline_of(stage, db) as here:
        for question in QUESTIONS:
            assert found(there, question) == found(here, question)
        hit = there.search(QUESTIONS[0]).hits[0]
        same = here.search(QUESTIONS[0]).hits[0]
        fields = ("id", "title", "headings", "text", "source", "metadata", "start", "end")
        assert all(getattr(hit.passage, name) == getattr(same.passage, name) for name in fields)


def test_full_text_finds_any_of_the_words(db: Path, place: str) -> None:
    pushed(db, place)
    with pipeline_of({"type": "lancedb", "mode": "fts", "uri": place}) as pipeline:
        assert pipeline.search("Does a bicycle want oil?").hits[0].passage.document_id == "bicycle.md"
        # Forms of a word are one, and words that say nothing are not asked.
        assert pipeline.search("grinding bean").hits[0].passage.document_id == "coffee.md"
        assert pipeline.search("xylophone").hits == ()
        assert pipeline.search("?!").hits == ()
        # A question of stop words alone asks for them.
        assert pipeline.search("is it of the?").hits


def test_a_second_stage_takes_the_pushed_token_vectors(db: Path, place: str) -> None:
    pushed(db, place)
    notes: list[str] = []
    config = parse_config({"retrieve": {**LANCE, "uri": place}, "rerank": {"type": "colbert"}}, "lance")
    with (
        Pipeline.from_config(config, note=notes.append) as there,
        Pipeline.from_config("default", db) as here,
    ):
        result = there.search(QUESTIONS[0], 3)
        scored = {hit.passage.id: hit.scores["colbert"] for hit in here.search(QUESTIONS[0], 20).hits}
        for hit in result.hits:
            assert hit.scores["colbert"] == scored[hit.passage.id]
        assert result.hits[0].passage.document_id == "tea.html"
        explained = there.explain(result)
        assert "70" in json.dumps(explained, default=str)
        answer = there.ask(QUESTIONS[0], model="extractive", log=False)
    assert "70 degrees" in answer.text
    # Nothing had to be encoded again.
    assert notes == []


def test_only_what_changed_goes_there_and_what_is_gone_goes(tmp_path: Path, place: str) -> None:
    notes, db = write_notes(tmp_path / "notes"), tmp_path / "own.db"
    fill(db, notes)
    first = pushed(db, place)
    assert (first.deleted, first.unchanged) == (0, 0)
    again = pushed(db, place)
    assert (again.added, again.deleted, again.unchanged) == (0, 0, first.added)

    text = NOTES["bicycle.md"].replace("200 kilometres", "300 kilometres")
    (notes / "bicycle.md").write_text(text, encoding="utf-8")
    fill(db, notes)
    changed = pushed(db, place)
    assert (changed.added, changed.deleted) == (1, 1)
    assert changed.version > again.version

    with Corpus.open(db) as corpus:
        gone = corpus.connection.execute(
            "SELECT count(*) FROM passages p JOIN documents d ON d.rowid = p.document WHERE d.id = 'tea.html'"
        ).fetchone()[0]
        remove_documents(corpus, ["tea.html"])
    removed = pushed(db, place)
    assert (removed.added, removed.deleted) == (0, gone)
    with pipeline_of({**LANCE, "uri": place}) as pipeline:
        texts = " ".join(hit.passage.text for hit in pipeline.search("kilometres tea", 20).hits)
    assert "300 kilometres" in texts
    assert "200 kilometres" not in texts
    assert "Green tea" not in texts


def test_a_reader_goes_on_to_the_next_push_and_sees_no_half_of_it(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, db = write_notes(tmp_path / "notes"), tmp_path / "own.db"
    fill(db, notes)
    first = pushed(db, place)
    (notes / "new.md").write_text("# Zithers\n\nA zither has many strings.\n", encoding="utf-8")
    fill(db, notes)

    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    with pipeline_of({"type": "lancedb", "mode": "fts", "uri": place}) as reader:
        assert reader.search("zither").hits == ()
        with monkeypatch.context() as patched:
            patched.setattr(indexes, "update", broken)
            with pytest.raises(KeyboardInterrupt):
                pushed(db, place)
        # The row is there, and nobody searches it.
        assert reader.search("zither").hits == ()
        finished = pushed(db, place)
        assert (finished.added, finished.unchanged) == (0, first.added + 1)
        assert reader.search("zither").hits[0].passage.document_id == "new.md"


def test_a_first_push_that_was_broken_off_is_not_searched(
    db: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(indexes, "update", broken)
        with pytest.raises(KeyboardInterrupt):
            pushed(db, place)
    with (
        pipeline_of({**LANCE, "uri": place}) as pipeline,
        pytest.raises(RagqaError, match="no pushed corpus"),
    ):
        pipeline.search("tea")


def test_many_rows_go_there_in_several_versions(
    db: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "READ", 2)
    monkeypatch.setattr(pushing, "ADD", 3)
    monkeypatch.setattr(pushing, "DELETE", 2)
    report = pushed(db, place)
    with pipeline_of({**LANCE, "uri": place}) as there, pipeline_of({"type": "dense"}, db) as here:
        assert len(there.search("water", 50).hits) == report.added == len(here.search("water", 50).hits)
    with Corpus.open(db) as corpus:
        remove_documents(corpus, ["coffee.md", "bicycle.md", "garden.txt"])
    left = pushed(db, place)
    assert left.deleted == report.added - left.unchanged > 2


def test_another_checkpoint_is_refused_and_pushed_anew(db: Path, place: str) -> None:
    report = pushed(db, place)
    with pytest.raises(RagqaError, match=r"pushed with other vectors .* --anew"):
        pushed(db, place, "light")
    old = {**LANCE, "uri": place, "mode": "dense"}
    new = {**old, "model": "embedded-light"}
    with pipeline_of(new) as pipeline, pytest.raises(RagqaError, match="was not pushed with the vectors"):
        pipeline.search("tea")
    replaced = pushed(db, place, "light", anew=True)
    assert replaced.added == report.added
    with pipeline_of(new) as pipeline:
        assert pipeline.search("green tea").hits[0].passage.document_id == "tea.html"
    with pipeline_of(old) as pipeline, pytest.raises(RagqaError, match="was not pushed with the vectors"):
        pipeline.search("tea")


def test_token_vectors_are_searched_only_where_they_were_pushed_for_it(db: Path, place: str) -> None:
    pushed(db, place)
    retrieve = {**LANCE, "uri": place, "mode": "multivector"}
    with (
        pipeline_of(retrieve) as pipeline,
        pytest.raises(RagqaError, match="was not pushed with the vectors"),
    ):
        pipeline.search("tea")


def test_one_push_at_a_time(db: Path, place: str) -> None:
    with pushing._only_one(place), pytest.raises(BusyError, match="Another process is pushing"):
        pushed(db, place)


def test_errors_say_what_to_do(db: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pipeline_of({**LANCE, "uri": place}) as pipeline,
        pytest.raises(RagqaError, match="no pushed corpus at .*lance: ragqa push --to .*lance makes one"),
    ):
        pipeline.search("tea")
    with Pipeline.from_config("fts", db) as pipeline, pytest.raises(RagqaError, match="no token vectors"):
        push(pipeline, place, multivector=True)
    import lancedb

    foreign = str(tmp_path / "foreign")
    lancedb.connect(foreign).create_table("passages", [{"id": 1}])
    with pytest.raises(RagqaError, match="ragqa push did not make it"):
        pushed(db, foreign)
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    with pytest.raises(RagqaError, match=r"pip install 'ragqa\[scale\]'"):
        pushed(db, str(tmp_path / "other"))


def test_the_command_line_pushes_and_asks(db: Path, place: str, ragqa: Run, tmp_path: Path) -> None:
    done = ragqa("push", "--db", db, "--to", place, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["added"] >= 4
    assert report["uri"] == place
    again = ragqa("push", "--db", db, "--to", place)
    assert f"0 passages added, 0 deleted, {report['added']} unchanged" in again.stdout
    asked = ragqa(
        "ask", "-c", "lancedb", "-m", "extractive", "How warm is green tea?", env={"RAGQA_LANCE": place}
    )
    assert "70 degrees" in asked.stdout, asked.stderr
    nowhere = ragqa("search", "-c", "lancedb", "tea", env={"RAGQA_LANCE": str(tmp_path / "nowhere")})
    assert nowhere.returncode == 1
    assert "There is no pushed corpus" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr


# -- metadata -----------------------------------------------------------------------------------------

RECORDS = [
    {"id": "a", "text": "water one", "topic": "sqlite", "stars": 3, "tags": ["db", "python"]},
    {"id": "b", "text": "water two", "topic": "SQLite's", "stars": 4.5, "tags": ["web"]},
    {"id": "c", "text": "water three", "topic": "100%", "stars": "3", "tags": "python"},
    {"id": "d", "text": "water four", "my key": 'odd "one"', "draft": True},
    {"id": "e", "text": "water five", "topic": "back\\slash", "stars": -1, "Topic": "other"},
    {"id": "f", "text": "water six"},
    {"id": "g", "text": "water seven", "topic": "\u00c9t\u00e9"},
]
CONDITIONS = [
    "topic = 'sqlite'",
    "topic = 'SQLite''s'",
    "topic != 'sqlite'",
    "NOT topic = 'sqlite'",
    "topic LIKE 'sqlite%'",
    "topic LIKE '%\\%'",
    "topic LIKE '1__%'",
    "topic LIKE '\u00e9T%'",
    "topic LIKE '\u00c9T%'",
    "topic = 'back\\slash'",
    "stars = 3",
    "stars = '3'",
    "stars > 2 AND stars < 5",
    "stars BETWEEN -5 AND 3",
    "stars IN (3, 4.5)",
    "tags = 'python'",
    "tags != 'python'",
    "tags IN ('web', 'db')",
    "topic IS NULL",
    "topic IS NOT NULL AND NOT (stars >= 3 OR tags = 'web')",
    '"my key" = \'odd "one"\'',
    "\"Topic\" = 'other'",
    "draft = true",
    "id = 'a' OR id = 'f'",
    "nothing = 1",
    "topic = 'x' OR id LIKE '%e'",
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("records")
    source, db, place = folder / "records.jsonl", folder / "records.db", str(folder / "lance")
    source.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    fill(db, source, fields=Fields(meta=("topic", "stars", "tags", "my key", "draft", "Topic")))
    pushed(db, place)
    yield db, place
    shutil.rmtree(folder)


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_lets_the_same_passages_through_as_sqlite(records: tuple[Path, str], where: str) -> None:
    db, place = records
    lance = {**LANCE, "uri": place, "mode": "dense"}
    with pipeline_of(lance, where=where) as there, pipeline_of({"type": "dense"}, db, where=where) as here:
        assert found(there, "water") == found(here, "water")
    full_text = {**LANCE, "uri": place, "mode": "fts"}
    with pipeline_of(full_text, where=where) as there, pipeline_of({"type": "fts"}, db, where=where) as here:
        ids = [{hit.passage.document_id for hit in each.search("water").hits} for each in (there, here)]
        assert ids[0] == ids[1]


def test_a_range_of_a_list_is_refused(records: tuple[Path, str]) -> None:
    with (
        pipeline_of({**LANCE, "uri": records[1]}, where="tags > 'a'") as pipeline,
        pytest.raises(RagqaError, match="'tags' has lists of values"),
    ):
        pipeline.search("water")


def test_a_key_that_no_document_has_is_noted_once(records: tuple[Path, str]) -> None:
    notes: list[str] = []
    config = parse_config({"retrieve": {**LANCE, "uri": records[1]}, "where": "topci = 'sqlite'"}, "typo")
    with Pipeline.from_config(config, note=notes.append) as pipeline:
        assert pipeline.search("water").hits == pipeline.search("water").hits == ()
    assert notes == ["No document there has the metadata key 'topci'."]


def test_a_new_key_gets_a_column(tmp_path: Path, place: str) -> None:
    db, source = tmp_path / "records.db", tmp_path / "records.jsonl"
    fields = Fields(meta=("topic", "colour"))
    source.write_text(json.dumps({"id": "a", "text": "water one", "topic": "x"}) + "\n", encoding="utf-8")
    fill(db, source, fields=Fields(meta=("topic",)))
    pushed(db, place)
    with source.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "b", "text": "water two", "topic": "y", "colour": "red"}) + "\n")
    fill(db, source, fields=fields)
    pushed(db, place)
    with pipeline_of({**LANCE, "uri": place}, where="colour = 'red'") as pipeline:
        assert [hit.passage.document_id for hit in pipeline.search("water").hits] == ["b"]


def test_the_stage_is_the_one_that_configs_name(db: Path, place: str) -> None:
    pushed(db, place)
    with pipeline_of({**LANCE, "uri": place}) as pipeline:
        assert isinstance(pipeline.retriever, LanceRetriever)
