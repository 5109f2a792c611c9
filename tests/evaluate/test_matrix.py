from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llm
import pytest
from llm.plugins import pm

from ragqa.answer.refusal import is_refusal
from ragqa.config import load_config
from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.calls import Retries
from ragqa.evaluate.matrix import Progress, run_matrix
from ragqa.evaluate.metrics import parse_metrics, values
from ragqa.evaluate.plan import Plan
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import Run
from ragqa.evaluate.store import RunStore
from ragqa.operations.corpus import remove_documents
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import FullTextRetriever

from ..conftest import NOTES, fill
from ..conftest import Run as Command

ASKED = (
    JudgedQuestion("beans", "How many grams of beans for a litre of water?", {"coffee.md": 1}, ("60 grams",)),
    JudgedQuestion("press", "How coarse for a French press?", {"coffee.md": 1}),
    JudgedQuestion("tyre", "How is a flat tyre mended?", {"bicycle.md": 1}),
    JudgedQuestion("tea", "How long is green tea steeped?", {"tea.html": 1}),
    JudgedQuestion("sun", "How much sun do tomatoes need?", {"garden.txt": 1}),
    JudgedQuestion("none", "xylophone", {}, unanswerable=True),
)
QUESTIONS = QuestionSet("notes", ASKED)
PLAN = Plan(QUESTIONS, models=["fake"], retries=Retries(2, 30.0, 0.01))


class Flaky(llm.Model):
    """Does what it is told to before it answers, and remembers the questions."""

    model_id = "flaky"
    can_stream = True

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda prompt: None
        self.asked: list[str] = []

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        (question,) = [question.id for question in ASKED if question.text in prompt.prompt]
        self.asked.append(question)
        self.before(question)
        yield f"About {question} [1]."


class Remote(llm.KeyModel):
    """As Flaky, behind a key, so that it is called from several threads."""

    model_id = "remote"
    needs_key = "remote"
    key_env_var = "REMOTE_KEY"
    can_stream = True

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda prompt: None
        self.asked: list[str] = []

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any, key: Any) -> Iterator[str]:
        (question,) = [question.id for question in ASKED if question.text in prompt.prompt]
        self.asked.append(question)
        self.before(question)
        yield f"About {question} [1]."


@pytest.fixture
def models(fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The models of conftest, and `flaky` and `remote`."""
    monkeypatch.setenv("REMOTE_KEY", "key")
    fake_models.flaky, fake_models.remote = Flaky(), Remote()

    class Plugin:
        __name__ = "FlakyModels"

        @llm.hookimpl
        def register_models(self, register: Any) -> None:
            register(fake_models.flaky)
            register(fake_models.remote)

    plugin = Plugin()
    pm.register(plugin, name="flaky-models")
    yield fake_models
    pm.unregister(plugin)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.open(tmp_path / "runs.db", create=True) as opened:
        yield opened


Ask = Callable[..., list[Run]]


@pytest.fixture
def ask(db: Path, store: RunStore) -> Iterator[Ask]:
    """Run a matrix of these configs over the notes, and return its runs."""
    with ExitStack() as stack:

        def run(*configs: str, plan: Plan = PLAN, **changes: Any) -> list[Run]:
            pipelines = [Pipeline.from_config(config, db) for config in configs]
            for pipeline in pipelines:
                stack.callback(pipeline.close)
            numbers = run_matrix(pipelines, replace(plan, **changes), store)
            return store.find([str(number) for number in numbers])

        yield run


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often full text was asked each question."""
    counted: Counter[str] = Counter()
    search = FullTextRetriever.search

    def counting(self: FullTextRetriever, query: str, k: int) -> Any:
        counted[query] += 1
        return search(self, query, k)

    monkeypatch.setattr(FullTextRetriever, "search", counting)
    return counted


def passages(run: Run, place: int) -> list[tuple[str, float]]:
    return [(passage.passage_id, passage.score) for passage in run.results[place].ranking]


def test_every_cell_has_what_its_config_finds_and_its_model_says(
    ask: Ask, db: Path, models: SimpleNamespace
) -> None:
    runs = ask("fts", "default", models=["extractive", "fake"])
    assert [run.info.name for run in runs] == [
        "fts/extractive",
        "fts/fake",
        "default/extractive",
        "default/fake",
    ]
    assert len({run.info.batch for run in runs}) == 1
    assert all(run.complete for run in runs)
    for run in runs:
        pipeline = Pipeline.from_config(run.info.config_name, db)
        for place, question in enumerate(ASKED):
            result = run.results[place]
            hits = pipeline.search(question.text, run.info.key.depth).hits
            assert passages(run, place) == [(hit.passage.id, pytest.approx(hit.score)) for hit in hits]
            assert result.reply
            if not hits:
                continue
            answer = pipeline.ask(question.text, model=run.info.key.model, log=False)
            assert result.reply.text == answer.text
            assert result.reply.context == answer.context.text
            cited = [citation.passage.document_id for citation in answer.citations]
            assert result.reply.cited == tuple(dict.fromkeys(cited))
        pipeline.close()


def test_a_model_reads_the_passages_that_a_question_alone_would_give_it(
    db: Path, store: RunStore, models: SimpleNamespace
) -> None:
    pipeline = Pipeline.from_config(load_config("fts").model_copy(update={"k": 1}), db)
    run = store.find([str(number) for number in run_matrix([pipeline], PLAN, store)])[0]
    for place, question in enumerate(ASKED[:5]):
        reply = run.results[place].reply
        assert reply
        assert reply.context == pipeline.ask(question.text, model="fake", log=False).context.text
    pipeline.close()
    assert max(len(result.ranking) for result in run.results.values()) > 1


def test_a_first_stage_that_configs_share_is_asked_each_question_once(
    ask: Ask, searched: Counter[str], models: SimpleNamespace
) -> None:
    ask("fts", "fts-colbert", models=["extractive", "fake"])
    assert {question.text: searched[question.text] for question in ASKED} == {q.text: 1 for q in ASKED}


def test_corpora_share_no_first_stage(tmp_path: Path, db: Path, notes: Path, store: RunStore) -> None:
    other = tmp_path / "other.db"
    (notes / "else.md").write_text("Tea and beans, tyres, sun and a French press.")
    fill(other, notes)
    pipelines = [Pipeline.from_config("fts", path) for path in (db, other)]
    for run in store.find([str(n) for n in run_matrix(pipelines, replace(PLAN, answers=False), store)]):
        found = {document for result in run.results.values() for document in result.documents}
        assert ("else.md" in found) == (run.info.corpus_path == str(other))
    for pipeline in pipelines:
        pipeline.close()


def test_a_corpus_that_was_not_indexed_yet_can_be_asked(tmp_path: Path, notes: Path, store: RunStore) -> None:
    fill(tmp_path / "bare.db", notes)
    pipeline = Pipeline.from_config("fts", tmp_path / "bare.db")
    (number,) = run_matrix([pipeline], replace(PLAN, answers=False), store)
    pipeline.close()
    (run,) = store.find([str(number)])
    assert run.complete
    assert run.info.index_bytes > 0


def test_each_cell_has_the_times_of_its_own_stages(ask: Ask) -> None:
    runs = ask("fts", "dense", "fts-colbert", "default", answers=False)
    stages = [{frozenset(result.timings_ms) for result in run.results.values()} for run in runs]
    assert stages == [
        {frozenset({"fts"})},
        {frozenset({"encode", "dense"})},
        {frozenset({"encode", "fts", "colbert"})},
        {frozenset({"encode", "hybrid", "colbert"})},
    ]
    # Also the first: what warms the models up must not have encoded it already.
    encoding = [result.timings_ms["encode"] for result in runs[1].results.values()]
    assert encoding[0] > min(encoding[1:]) / 10


def test_without_answers_no_model_is_asked(ask: Ask, models: SimpleNamespace) -> None:
    (run,) = ask("fts", answers=False)
    assert run.info.name == "fts"
    assert not run.answers
    assert run.complete
    assert {result.reply for result in run.results.values()} == {None}
    assert models.answering.prompts == []


def test_a_question_without_hits_is_a_refusal_and_asks_no_model(ask: Ask, models: SimpleNamespace) -> None:
    (run,) = ask("fts")
    result = run.results[5]
    assert result.ranking == ()
    assert result.reply
    assert result.reply.refused
    assert is_refusal(result.reply.text)
    assert len(models.answering.prompts) == 5


def fail_on(*questions: str) -> Callable[[str], None]:
    def before(question: str) -> None:
        if question in questions:
            raise RuntimeError("the server hung up")

    return before


def test_resume_asks_only_what_failed_or_is_missing(
    ask: Ask, models: SimpleNamespace, store: RunStore
) -> None:
    models.flaky.before = fail_on("press", "tea")
    (run,) = ask("fts", models=["flaky"])
    assert {ASKED[place].id: result.reason for place, result in run.failed.items()} == {
        "press": "The model flaky failed: the server hung up",
        "tea": "The model flaky failed: the server hung up",
    }
    assert all(result.ranking and result.reply is None for result in run.failed.values())
    store.connection.execute("DELETE FROM results WHERE run = ? AND place = 4", [run.info.id])
    models.flaky.before = fail_on()
    models.flaky.asked.clear()
    (again,) = ask("fts", models=["flaky"], resume=True)
    assert models.flaky.asked == ["press", "tea", "sun"]
    assert again.info.id == run.info.id
    assert again.complete
    assert [found.info.id for found in store.find()] == [run.info.id]
    (anew,) = ask("fts", models=["flaky"])
    assert anew.info.id != run.info.id


def test_resume_does_not_continue_a_run_of_another_corpus(ask: Ask, db: Path) -> None:
    (run,) = ask("fts", answers=False)
    with Corpus.open(db) as corpus:
        remove_documents(corpus, ["garden.txt"])
    (anew,) = ask("fts", answers=False, resume=True)
    assert anew.info.id != run.info.id


def test_a_remote_model_is_tried_again_and_its_failures_counted(ask: Ask, models: SimpleNamespace) -> None:
    def before(question: str) -> None:
        if question == "tea" or (question == "sun" and models.remote.asked.count("sun") == 1):
            raise ConnectionError("reset")
        if question == "tyre":
            raise ValueError("bad request")

    models.remote.before = before
    (run,) = ask("fts", models=["remote"], workers=3)
    assert {ASKED[place].id: result.attempts for place, result in run.results.items()} == {
        "beans": 1,
        "press": 1,
        "tyre": 1,
        "tea": 2,
        "sun": 2,
        "none": 1,
    }
    assert {ASKED[place].id for place in run.failed} == {"tyre", "tea"}
    models.remote.before = fail_on()
    (again,) = ask("fts", models=["remote"], workers=3, resume=True)
    assert (again.info.id, again.complete) == (run.info.id, True)


def test_a_remote_model_answers_as_many_questions_at_a_time_as_there_are_workers(
    ask: Ask, models: SimpleNamespace
) -> None:
    met = threading.Barrier(2, timeout=10)
    models.remote.before = lambda question: met.wait() and None if question != "sun" else None
    (run,) = ask("fts", models=["remote"], workers=2)
    assert run.complete


def test_a_question_that_a_model_has_no_room_for_fails_alone(
    ask: Ask, models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Pipeline.request

    def narrow(self: Pipeline, result: Any, *others: Any, **named: Any) -> Any:
        if "tyre" in result.question:
            raise UsageError("The question is too long for fake.")
        return request(self, result, *others, **named)

    monkeypatch.setattr(Pipeline, "request", narrow)
    (run,) = ask("fts")
    assert {place: result.reason for place, result in run.failed.items()} == {
        2: "The question is too long for fake."
    }


def test_options_go_to_the_models_that_have_them(ask: Ask, models: SimpleNamespace, store: RunStore) -> None:
    runs = ask("fts", models=["fake", "flaky"], options={"temperature": "0.5"})
    assert [dict(run.info.key.options) for run in runs] == [{"temperature": "0.5"}, {}]
    assert models.answering.prompts[0].options.temperature == 0.5
    with pytest.raises(UsageError, match="None of the models has an option 'top_k': fake, flaky"):
        ask("fts", models=["fake", "flaky"], options={"top_k": "3"})
    with pytest.raises(UsageError, match="option temperature of fake is wrong"):
        ask("fts", models=["flaky", "fake"], options={"temperature": "warm"})
    with pytest.raises(UsageError, match="no model 'nobody'"):
        ask("fts", models=["flaky", "nobody"])
    # What was refused has left no empty runs behind.
    assert [run.info.id for run in store.find()] == [run.info.id for run in runs]


def test_a_question_whose_document_is_absent_is_reported_and_scores_zero(ask: Ask) -> None:
    lost = replace(ASKED[2], relevant={"gone.md": 1})
    question_set = QuestionSet("notes", (*ASKED[:2], lost))
    (run,) = ask("fts", question_set=question_set, answers=False)
    assert run.info.absent == {"tyre": ["gone.md"]}
    assert values(run, parse_metrics(["RR@10"]))["RR@10"] == {0: 1.0, 1: 1.0, 2: 0.0}


def test_questions_about_other_documents_are_refused(ask: Ask, store: RunStore) -> None:
    question_set = QuestionSet("others", tuple(replace(q, relevant={"gone.md": 1}) for q in ASKED))
    with pytest.raises(UsageError, match=r"None of the 6 relevant documents of others is in .*notes\.db"):
        ask("fts", question_set=question_set)
    assert store.infos() == []


def test_a_corpus_that_changes_meanwhile_stops_the_matrix_and_keeps_what_was_done(
    ask: Ask, models: SimpleNamespace, store: RunStore, db: Path
) -> None:
    def before(question: str) -> None:
        if question == "tyre":
            with Corpus.open(db) as corpus:
                remove_documents(corpus, ["garden.txt"])

    models.flaky.before = before
    with pytest.raises(RagqaError, match=r"corpus .*notes\.db was changed while it was asked"):
        ask("fts", models=["flaky"])
    (run,) = store.find()
    assert sorted(run.results) == [0, 1, 2]
    assert not run.failed


def test_two_configs_of_the_same_name_have_a_run_each(db: Path, store: RunStore) -> None:
    config = load_config("fts")
    plan = replace(PLAN, answers=False)
    for changed in (config, config.model_copy(update={"candidates": 3})):
        pipelines = [Pipeline.from_config(one, db) for one in (config, changed)]
        for resume in (False, True):
            runs = store.find(
                [str(number) for number in run_matrix(pipelines, replace(plan, resume=resume), store)]
            )
            assert len(runs) == 2
            assert all(run.complete for run in runs)
            if not resume:
                assert [run.info.name for run in runs] == ["fts", "fts (2)"]
        for pipeline in pipelines:
            pipeline.close()


def test_progress_counts_every_cell_and_failures(db: Path, store: RunStore, models: SimpleNamespace) -> None:
    models.flaky.before = fail_on("tea")
    pipeline = Pipeline.from_config("fts", db)
    seen: list[tuple[int, int, int]] = []

    def on_progress(progress: Progress) -> None:
        seen.append((progress.done, progress.failed, progress.total))

    run_matrix([pipeline], replace(PLAN, models=["fake", "flaky"]), store, on_progress)
    pipeline.close()
    assert [done for done, _, _ in seen] == list(range(13))
    assert seen[0] == (0, 0, 12)
    assert seen[-1] == (12, 1, 12)


# -- killed -----------------------------------------------------------------------------------


def many_questions(count: int) -> str:
    words = [word for text in NOTES.values() for word in text.split() if word.isalpha()]
    lines = []
    for number in range(count):
        text = " ".join(words[(number * 7 + step * 3) % len(words)] for step in range(5))
        document = list(NOTES)[number % len(NOTES)]
        line = {"id": f"q{number}", "question": f"{text} {number}?", "relevant": [document]}
        lines.append(json.dumps({**line, "golden_answers": ["60 grams"]}))
    return "\n".join(lines)


def stored(path: Path) -> dict[tuple[int, int], str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT run, place, created FROM results WHERE status = 'done'")
        return {(run, place): created for run, place, created in rows}


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_comes_to_the_same(
    db: Path, tmp_path: Path, ragqa: Command
) -> None:
    count = 120
    (tmp_path / "questions.jsonl").write_text(many_questions(count))
    asked = ["eval", "run", "questions.jsonl", "--db", db.name, "-c", "fts", "-c", "default"]
    runs = tmp_path / "runs.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "ragqa", *asked, "--runs", "runs.db"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    seen = 0
    while seen < 12:
        assert process.poll() is None
        time.sleep(0.01)
        if runs.exists():
            try:
                seen = len(stored(runs))
            except sqlite3.OperationalError:
                continue  # Its tables are not there yet.
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    before = stored(runs)
    with closing(sqlite3.connect(runs)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # So that rows of before can be told from rows of later, whatever the clock says.
        connection.execute("UPDATE results SET created = 'before'")
        connection.commit()
    # Cell after cell and question after question: nothing is missing in between.
    first, second = ([place for run, place in sorted(before) if run == number] for number in (1, 2))
    assert seen <= len(before) < 2 * count
    assert first == list(range(len(first)))
    assert second == list(range(len(second)))
    assert len(first) - len(second) in (0, 1)

    done = ragqa(*asked, "--runs", "runs.db", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    after = stored(runs)
    assert set(after) == {(run, place) for run in (1, 2) for place in range(count)}
    assert {key for key, created in after.items() if created == "before"} == set(before)

    assert ragqa(*asked, "--runs", "undisturbed.db").returncode == 0
    shown = [json.loads(ragqa("eval", "show", "--runs", name, "--json").stdout)["runs"]
             for name in ("runs.db", "undisturbed.db")]  # fmt: skip
    metrics = [[(run["name"], run["done"], run["metrics"]) for run in listed] for listed in shown]
    assert metrics[0] == metrics[1]
    assert [name for name, _, _ in metrics[0]] == ["fts/extractive", "default/extractive"]
    assert 0 < metrics[0][0][2]["nDCG@10"]["mean"] < 1
