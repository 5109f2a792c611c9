from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.judge import Verdict
from ragqa.evaluate.judging import judge_runs
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, RunInfo, RunKey
from ragqa.evaluate.store import RunStore
from ragqa.files import default_runs

from ..conftest import FakeModel

QUESTIONS = QuestionSet(
    "set",
    (
        JudgedQuestion("q 1", "how müch", {"a": 2, "b": 0}, ("60 grams", "sixty"), "kind"),
        JudgedQuestion("q2", "how warm", {"c": 1}),
        JudgedQuestion("q3", "how dear", {}, unanswerable=True),
    ),
)
KEY = RunKey(
    QUESTIONS.fingerprint, "retrieve: fts\n", "corpus", "fake", {"temperature": 0.5}, "prompt", 100, "1"
)
RANKING = (
    RankedPassage("a b", "a b#0", 1.25, {"fts": 1.25, "colbert": 0.5}),
    RankedPassage("c", "c#1", -2.0, {}),
)
RESULTS = {
    0: Result(
        "done", RANKING, {"fts": 1.5, "model": 20.25}, Reply("Ja — 60.", False, ("a b",), "ctx", 7, 8, 9, 0.5)
    ),
    1: Result("failed", RANKING[:1], {"fts": 2.0}, None, "the server hung up", 6),
    2: Result("done", (), {}, Reply("", True)),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.open(tmp_path / "runs.db", create=True) as opened:
        yield opened


def begin(store: RunStore, name: str = "run", batch: int = 1, key: RunKey = KEY) -> int:
    return store.begin(
        key,
        QUESTIONS,
        batch=batch,
        name=name,
        config_name="fts",
        corpus_path="/a.db",
        index_bytes=12,
        device="cpu",
        environment={"cores": 2},
        absent={"q2": ["c"]},
    )


def test_a_run_reads_back_as_it_was(store: RunStore) -> None:
    number = begin(store)
    for place, result in RESULTS.items():
        store.record(number, place, result)
    store.close()
    with RunStore.open(store.path) as again:
        (run,) = again.find()
        assert run.results == RESULTS
        assert run.question_set == QUESTIONS
        expected = RunInfo(
            number, 1, "run", run.info.created, KEY, "fts", "/a.db", 12, "cpu", {"cores": 2}, {"q2": ["c"]}
        )
        assert run.info == expected
        assert run.info.key.fingerprint == KEY.fingerprint
        assert again.counts() == {number: (2, 1, 3)}
        assert again.done(number) == {0, 2}


def test_a_run_without_a_model_has_no_replies(store: RunStore) -> None:
    number = begin(store, key=replace(KEY, model=None, options={}))
    store.record(number, 0, Result("done", RANKING, {}))
    (run,) = store.find()
    assert not run.answers
    assert run.results[0].reply is None


def test_a_result_takes_the_place_of_an_earlier_one_of_the_same_question(store: RunStore) -> None:
    number = begin(store)
    store.record(number, 0, RESULTS[0])
    store.record(number, 0, RESULTS[1])
    assert store.find()[0].results == {0: RESULTS[1]}
    store.record(number, 0, RESULTS[0])
    assert store.find()[0].results == {0: RESULTS[0]}


def test_runs_are_found_by_number_by_name_and_as_the_last_batch(store: RunStore) -> None:
    first, second = begin(store, "fts", 1), begin(store, "default", 1)
    third, fourth = begin(store, "fts", 2), begin(store, "dense", 2)
    assert [run.info.id for run in store.find([str(first), "fts", "default"])] == [first, third, second]
    assert [run.info.id for run in store.find()] == [third, fourth]
    assert store.next_batch() == 3
    store.join_batch(first, 3)
    assert [run.info.id for run in store.find()] == [first]
    with pytest.raises(UsageError, match=r"no run 'nothing' in .*runs\.db.*1 \(fts\).*4 \(dense\)"):
        store.find(["nothing"])


def test_a_store_without_runs_says_how_to_make_some(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runs in .* ragqa eval run"):
        store.find()
    with pytest.raises(UsageError, match=r"no runs at .*none\.db yet: ragqa eval run"):
        RunStore.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_the_run_that_can_be_continued_is_the_newest_of_its_key(store: RunStore) -> None:
    assert store.unfinished(KEY) is None
    begin(store)
    newest = begin(store)
    assert store.unfinished(KEY) == newest
    for other in (
        {"model": None},
        {"options": {"temperature": 0.6}},
        {"corpus": "changed"},
        {"code_version": "2"},
        {"depth": 20},
    ):
        assert store.unfinished(replace(KEY, **other)) is None, other  # type: ignore[arg-type]


def test_a_corpus_is_no_file_of_runs_and_stays_as_it_is(db: Path) -> None:
    before = db.read_bytes()
    with pytest.raises(RagqaError, match=r"notes\.db is a SQLite database, but no file of runs\."):
        RunStore.open(db, create=True)
    assert db.read_bytes() == before


def test_a_text_file_is_no_file_of_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.txt"
    path.write_text("not a database, but long enough to have a header " * 20)
    with pytest.raises(RagqaError, match=r"runs\.txt is not a SQLite database"):
        RunStore.open(path, create=True)


def test_a_folder_cannot_be_a_file_of_runs(tmp_path: Path) -> None:
    with pytest.raises(RagqaError, match=r"The file of runs .* cannot be"):
        RunStore.open(tmp_path)


def test_runs_of_a_newer_ragqa_are_refused(store: RunStore) -> None:
    store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RagqaError, match="written by a newer ragqa: upgrade"):
        RunStore.open(store.path)


def test_the_file_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAGQA_RUNS", raising=False)
    assert default_runs().name == "runs.db"
    monkeypatch.setenv("RAGQA_RUNS", str(tmp_path / "mine.db"))
    with RunStore.open(create=True) as opened:
        assert opened.path == tmp_path / "mine.db"


def test_recording_from_several_threads_loses_nothing(store: RunStore) -> None:
    number = begin(store)
    errors: list[BaseException] = []

    def record(first: int) -> None:
        try:
            for place in range(first, 200, 8):
                store.record(number, place, RESULTS[place % 3])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=record, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.find()[0].results == {place: RESULTS[place % 3] for place in range(200)}


def test_a_verdict_is_kept_once_and_grades_are_means_of_the_tries(store: RunStore) -> None:
    a, b = begin(store, "a"), begin(store, "b")
    failed = Verdict(0, 1, "", None, "", "no verdict")
    for verdict in (Verdict(0, 0, "wrong", 0.0, "bad"), failed, Verdict(0, 0, "correct", 1.0, "good")):
        store.record_verdict(a, None, "judge", "rubric", verdict)
    assert store.verdicts(a, None, "judge", "rubric") == [Verdict(0, 0, "correct", 1.0, "good"), failed]
    store.record_verdict(a, None, "judge", "rubric", Verdict(0, 1, "partly", 0.5, "hm"))
    store.record_verdict(a, b, "judge", "rubric", Verdict(0, 0, "B", 0.0, "worse"))
    assert store.verdicts(a, b, "judge", "rubric") == [Verdict(0, 0, "B", 0.0, "worse")]
    assert store.verdicts(a, None, "judge", "other") == []
    assert store.find(["a"])[0].grades == {"judge": {0: 0.75}}
    assert store.find(["b"])[0].grades == {}


def test_a_judge_goes_on_where_it_stopped_and_keeps_what_it_said(store: RunStore) -> None:
    number = begin(store)
    store.record(number, 0, RESULTS[0])
    store.record(number, 2, RESULTS[2])
    judge = FakeModel("judge", ["It fits.\nVerdict: correct"])
    store.record_verdict(number, None, "judge", "judge-absolute", Verdict(0, 0, "wrong", 0.0, "bad"))
    store.record_verdict(number, None, "judge", "judge-absolute", Verdict(0, 1, "", None, "", "no verdict"))
    said: list[int] = []
    (judged,) = judge_runs(store, store.find(), judge, on_verdict=said.append)
    # The try that failed, and both of the unanswerable question.
    assert said == [1, 2, 3]
    assert len(judge.prompts) == 3
    assert (judged.a, judged.b, judged.grade) == ("run", None, 0.75)
    assert (judged.agreement.verdicts, judged.agreement.failures) == (4, 0)
    assert store.find()[0].grades == {"judge": {0: 0.5, 2: 1.0}}
    judge_runs(store, store.find(), judge)
    assert len(judge.prompts) == 3
    (again,) = judge_runs(store, store.find(), judge, again=True)
    assert (len(judge.prompts), again.grade) == (7, 1.0)


def test_a_judge_of_pairs_gives_the_first_runs_share(store: RunStore) -> None:
    for name in ("a", "b", "c"):
        store.record(begin(store, name), 0, RESULTS[0])
    judge = FakeModel("judge", ["Verdict: first"])
    judged = judge_runs(store, store.find(), judge, pairwise=True)
    # It takes the one shown first, in either order: half of the points, and a bias.
    assert [(one.a, one.b, one.grade) for one in judged] == [
        ("a", "b", 0.5),
        ("a", "c", 0.5),
        ("b", "c", 0.5),
    ]
    assert {(one.agreement.share, one.agreement.position_bias) for one in judged} == {(0.0, 1.0)}
    assert [run.grades for run in store.find()] == [{}, {}, {}]


def test_there_is_nothing_to_judge_without_answers(store: RunStore) -> None:
    begin(store, key=replace(KEY, model=None, options={}))
    begin(store)
    judge = FakeModel("judge", [])
    with pytest.raises(UsageError, match="takes a run with answers"):
        judge_runs(store, store.find()[:1], judge)
    with pytest.raises(UsageError, match="takes two runs with answers"):
        judge_runs(store, store.find(), judge, pairwise=True)


def test_commands_that_begin_the_same_new_file_at_once_all_open_it(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(8)

    def open_it() -> None:
        together.wait()
        try:
            with RunStore.open(tmp_path / "new.db", create=True) as store:
                assert store.infos() == []
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_file_of_runs_that_another_process_keeps_making_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    monkeypatch.setattr("ragqa.evaluate.store.BUSY_TIMEOUT_S", 0.05)
    with FileLock(f"{path}.lock"), pytest.raises(RagqaError, match="Another process is making .*runs.db"):
        RunStore.open(path, create=True)
    RunStore.open(path, create=True).close()
