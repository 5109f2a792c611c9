"""`ragqa eval` as a user meets it: real processes over a small corpus, what is printed and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_cli import HEAVY, imported, result
from tests.conftest import Run

# id, question, relevant document, golden answer; the last two have no document and an absent one.
ASKED = [
    ("beans", "How many grams of beans for one litre of water?", "coffee.md", "60 grams"),
    ("press", "How are beans ground for a French press?", "coffee.md", "coarse"),
    ("filter", "Repairing: Are the beans ground medium for a paper filter?", "coffee.md", "medium"),
    ("tyre", "How is a flat tyre mended?", "bicycle.md", "with a patch and rubber cement"),
    ("chain", "When does the chain want oil?", "bicycle.md", "every 200 kilometres"),
    ("green", "How warm is green tea steeped?", "tea.html", "70 degrees"),
    ("sun", "How many hours of sun do tomatoes need?", "garden.txt", "six"),
    ("moon", "Who walked on the moon?", None, None),
    ("bread", "How long does bread rise?", "bread.md", "an hour"),
]

# Each question has a word of another document's heading, so that headings alone find the wrong one.
MISLEADING = {
    "coffee.md": (
        "Repairing: How many grams of beans for one litre of water?",
        "Repairing: Are the beans ground coarse for a French press?",
        "Repairing: Are the beans ground medium for a paper filter?",
        "Repairing: Is water just below boiling right for beans?",
    ),
    "bicycle.md": (
        "Brewing: Is a flat tyre mended with a patch?",
        "Brewing: Does the chain want oil every 200 kilometres?",
        "Brewing: Does rubber cement hold a patch on a flat tyre?",
        "Brewing: Which pump fills a flat tyre?",
        "Brewing: After how many kilometres does the chain want oil?",
        "Brewing: Is oil on the chain good after 200 kilometres?",
    ),
    "tea.html": (
        "Repairing: Is green steeped at 70 degrees for two minutes?",
        "Repairing: Does black want boiling water?",
        "Repairing: Is the kettle set to 70 degrees?",
        "Repairing: Is green steeped for two minutes?",
    ),
    "garden.txt": (
        "Brewing: How many hours of sun do tomatoes need?",
        "Brewing: Do you water the roots of tomatoes in the morning?",
        "Brewing: Do tomatoes need six hours of sun?",
        "Brewing: Should leaves of tomatoes get water in the morning?",
        "Brewing: Are leaves never to get water?",
        "Brewing: Do the roots of tomatoes need sun?",
    ),
}
HEADINGS_ALONE = "retrieve: {type: fts, weights: {title: 0, headings: 1, text: 0}}"

ABOUT = {"run", "name", "config", "model", "created", "corpus", "code_version", "device"}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_questions(folder: Path) -> Path:
    rows = [
        {
            "id": identifier,
            "question": text,
            "relevant": [document] if document else [],
            "golden_answers": [golden] if golden else [],
        }
        for identifier, text, document, golden in ASKED
    ]
    return write_lines(folder / "asked.jsonl", rows)


def write_misleading(folder: Path) -> Path:
    rows = [{"question": text, "relevant": [name]} for name, texts in MISLEADING.items() for text in texts]
    return write_lines(folder / "misleading.jsonl", rows)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path)


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    path = tmp_path / "worse.yaml"
    path.write_text(HEADINGS_ALONE)
    return path


@pytest.fixture(scope="module")
def two_runs(indexed_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of runs: 1 is fts/extractive, 2 worse/extractive."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "worse.yaml").write_text(HEADINGS_ALONE)
    db = shutil.copy(indexed_notes, folder / "notes.db")
    command = [sys.executable, "-m", "ragqa", "eval", "run", str(write_questions(folder)), "-c", "fts"]
    command += ["-c", "worse.yaml", "-m", "extractive", "--db", str(db), "--runs", "runs.db"]
    user = {"LLM_USER_PATH": str(folder / "llm"), "HOME": str(folder)}
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env={**os.environ, **user})
    return folder / "runs.db"


@pytest.fixture
def runs(two_runs: Path, tmp_path: Path) -> Path:
    """Those two runs, in a file of one's own."""
    return Path(shutil.copy(two_runs, tmp_path / "runs.db"))


# -- run --------------------------------------------------------------------------------------


def test_run_prints_a_table_and_says_what_is_absent(ragqa: Run, db: Path, questions: Path) -> None:
    told = ragqa(
        "eval",
        "run",
        questions,
        "-c",
        "fts",
        "-c",
        "default",
        "-m",
        "extractive",
        "--db",
        db,
        "--runs",
        "r.db",
    )
    assert told.returncode == 0, told.stderr
    heading, *rows, refused, _ = told.stdout.splitlines()
    assert heading.split()[:4] == ["run", "nDCG@10", "R@100", "RR@10"]
    assert refused == "fts/extractive refused 1 of 1 unanswerable questions, and wrongly 1 of 8 others."
    assert {"EM", "F1", "Refused", "p50", "index"} <= set(heading.split())
    assert [row.split()[0] for row in rows] == ["fts/extractive", "default/extractive"]
    # Seven of the eight relevant documents are there.
    assert [row.split()[2] for row in rows] == ["0.875", "0.875"]
    first, second = told.stderr.splitlines()
    assert first == (
        "asked: 9 questions, 8 with relevant documents, 8 with golden answers, 1 that have none."
    )
    assert "documents that are not in the corpus and cannot be found, such as 'bread.md' of bread" in second


def test_run_json_has_the_documented_form(ragqa: Run, db: Path, questions: Path) -> None:
    printed = result(
        ragqa(
            "eval", "run", questions, "-c", "fts", "-m", "extractive", "--db", db, "--runs", "r.db", "--json"
        )
    )
    assert printed.keys() == {"runs"}
    (run,) = printed["runs"]
    assert run.keys() == ABOUT | {
        "question_set", "questions", "done", "failed", "absent", "metrics", "latency_ms", "index_bytes",
        "tokens", "cost", "refusals",
    }  # fmt: skip
    assert (run["questions"], run["done"], run["failed"]) == (9, 9, {})
    assert run["absent"] == {"bread": ["bread.md"]}
    assert run["metrics"]["Refused"] == {"mean": 1.0, "low": None, "high": None, "questions": 1}
    assert run["refusals"]["right"] == run["refusals"]["unanswerable"] == 1
    assert (run["refusals"]["wrong"], run["refusals"]["answerable"]) == (1, 8)
    assert run["metrics"]["nDCG@10"].keys() == {"mean", "low", "high", "questions"}
    assert run["latency_ms"].keys() == {"fts", "context", "check", "model", "total"}


def test_run_retrieval_only_asks_no_model(ragqa: Run, db: Path, questions: Path) -> None:
    command = ["eval", "run", questions, "-c", "fts", "--retrieval-only", "--db", db, "--runs", "r.db"]
    (run,) = result(ragqa(*command, "--json"))["runs"]
    assert (run["name"], run["model"]) == ("fts", None)
    assert run["metrics"].keys() == {"nDCG@10", "R@100", "RR@10", "Success@5"}
    assert "model" not in run["latency_ms"]


def test_run_takes_part_of_the_questions_and_the_metrics_named(ragqa: Run, db: Path, questions: Path) -> None:
    command = ["eval", "run", questions, "-c", "fts", "--retrieval-only", "--db", db, "--runs", "r.db"]
    (run,) = result(ragqa(*command, "--limit", "3", "--metric", "P@1", "--json"))["runs"]
    assert run["questions"] == 3
    assert run["metrics"].keys() == {"P@1"}


def test_run_resumed_when_all_is_done_adds_no_run(ragqa: Run, db: Path, questions: Path) -> None:
    command = ["eval", "run", questions, "-c", "fts", "--retrieval-only", "--db", db, "--runs", "r.db"]
    first = result(ragqa(*command, "--json"))["runs"][0]["run"]
    assert result(ragqa(*command, "--json", "--resume"))["runs"][0]["run"] == first
    assert result(ragqa(*command, "--json"))["runs"][0]["run"] == first + 1


def test_an_unknown_judge_is_noticed_before_anything_is_asked(ragqa: Run, db: Path, questions: Path) -> None:
    command = ["eval", "run", questions, "-c", "fts", "-m", "extractive", "--db", db, "--runs", "r.db"]
    told = ragqa(*command, "--judge", "nobody")
    assert (told.returncode, told.stdout) == (2, "")
    assert "There is no model 'nobody'" in told.stderr
    assert "There are no runs in r.db yet" in ragqa("eval", "show", "--runs", "r.db").stderr


# -- what is stored ---------------------------------------------------------------------------


def test_list_names_the_runs(ragqa: Run, runs: Path) -> None:
    heading, *rows = ragqa("eval", "list", "--runs", runs).stdout.splitlines()
    assert heading.split() == ["run", "name", "questions", "done", "failed", "corpus", "when"]
    assert [row.split()[:3] for row in rows] == [
        ["1", "fts/extractive", "asked"],
        ["2", "worse/extractive", "asked"],
    ]
    assert all("9 of 9" in row and "notes.db" in row for row in rows)
    listed = result(ragqa("eval", "list", "--json", env={"RAGQA_RUNS": str(runs)}))["runs"]
    assert listed[0].keys() == ABOUT | {"question_set", "done", "failed", "questions"}


def test_show_has_intervals_and_the_time_of_each_stage(ragqa: Run, runs: Path) -> None:
    shown = ragqa("eval", "show", "1", "--runs", runs).stdout
    assert "0.875 [" in shown
    for stage in ("fts", "context", "model", "total"):
        assert f"\n  {stage:<16} p50 " in shown
    both = result(ragqa("eval", "show", "--runs", runs, "--json"))
    assert [run["name"] for run in both["runs"]] == ["fts/extractive", "worse/extractive"]


def test_show_a_question_of_each_run(ragqa: Run, runs: Path) -> None:
    shown = ragqa("eval", "show", "--question", "tyre", "--runs", runs).stdout
    assert shown.startswith("tyre: How is a flat tyre mended?\n  golden answer: with a patch")
    assert "\nfts/extractive\n   1. bicycle.md  relevant\n" in shown
    assert "  answer: A flat tyre is mended with a patch and rubber cement. [1]" in shown
    (moon,) = result(ragqa("eval", "show", "1", "-q", "moon", "--runs", runs, "--json"))["results"]
    assert moon.keys() >= {
        "run",
        "name",
        "id",
        "text",
        "relevant",
        "golden_answers",
        "unanswerable",
        "result",
    }
    assert moon["unanswerable"]
    assert moon["result"]["reply"]["refused"]


def test_diff_shows_the_questions_that_changed(ragqa: Run, runs: Path) -> None:
    told = ragqa("eval", "diff", "1", "2", "--runs", runs, "--limit", "1")
    assert told.stdout.startswith(
        "nDCG@10: 2 worse/extractive is better on 0 questions, 1 fts/extractive on "
    )
    assert told.stdout.count("\n  relevant: ") == 1
    assert "1.000 fts/extractive: " in told.stdout
    printed = result(ragqa("eval", "diff", "1", "2", "--runs", runs, "--json"))
    assert printed.keys() == {"a", "b", "metric", "changes"}
    assert printed["changes"][0].keys() == {"id", "question", "a", "b", "documents", "answers"}
    assert all(change["a"] > change["b"] for change in printed["changes"])
    same = ragqa("eval", "diff", "1", "2", "--metric", "Refused", "--runs", runs)
    assert same.stdout.endswith("better on 0 questions, 1 fts/extractive on 0.\n")


def test_compare_says_plainly_that_nothing_is_significant(ragqa: Run, runs: Path) -> None:
    told = ragqa("eval", "compare", "--metric", "nDCG@10", "--runs", runs)
    assert told.stdout.startswith("nDCG@10, 8 questions\nb less a ")
    assert (
        "\nfts/extractive and worse/extractive: the difference is not significant. This set would have shown "
    ) in told.stdout
    assert "not in the corpus" in told.stderr
    printed = result(ragqa("eval", "compare", "2", "--baseline", "1", "--runs", runs, "--json"))
    assert printed.keys() == {"runs", "differences"}
    assert len(printed["runs"]) == 2
    for difference in printed["differences"]:
        assert difference.keys() == {
            "metric", "a", "b", "difference", "p", "adjusted_p", "significant", "wins", "ties", "losses",
            "detectable",
        }  # fmt: skip
        assert not difference["significant"]


def test_export_writes_each_form(ragqa: Run, runs: Path, tmp_path: Path) -> None:
    trec = ragqa("eval", "export", "fts/extractive", "--trec", "--runs", runs).stdout.splitlines()
    assert trec[0] == "beans Q0 coffee.md 1 1.00000000 fts/extractive"
    qrels = ragqa("eval", "export", "1", "--qrels", "--runs", runs).stdout.splitlines()
    assert qrels[0] == "beans 0 coffee.md 1"
    assert len(qrels) == 8
    beir = json.loads(ragqa("eval", "export", "1", "--beir", "--runs", runs).stdout)
    assert beir["tyre"]["bicycle.md"] == 1.0
    written = ragqa("eval", "export", "1", "--jsonl", "-o", "one.jsonl", "--runs", runs)
    assert (written.returncode, written.stdout) == (0, "")
    about, *lines = (tmp_path / "one.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(about)["run"]["name"] == "fts/extractive"
    assert len(lines) == 9


def test_rejudge_counts_the_verdicts_that_a_model_does_not_give(ragqa: Run, runs: Path) -> None:
    judged = result(ragqa("eval", "rejudge", "-m", "extractive", "--runs", runs, "--json"))["judged"]
    assert [one["a"] for one in judged] == ["fts/extractive", "worse/extractive"]
    for one in judged:
        assert one.keys() == {
            "a", "b", "grade", "questions", "verdicts", "failures", "agreement", "position_bias",
        }  # fmt: skip
        assert (one["grade"], one["verdicts"]) == (None, 0)
        assert one["failures"] > 0
    told = ragqa("eval", "rejudge", "-m", "extractive", "--pairwise", "--runs", runs)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Judge: fts/extractive against worse/extractive: no verdict (0 verdicts, ")


@pytest.mark.needs("report")
def test_report_writes_a_page(ragqa: Run, runs: Path, tmp_path: Path) -> None:
    told = ragqa("eval", "report", "--html", "page.html", "--runs", runs)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "Written: page.html\n")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "worse/extractive" in page


# -- check ------------------------------------------------------------------------------------


def test_check_passes_against_itself_and_fails_a_worse_config(
    ragqa: Run, db: Path, tmp_path: Path, worse: Path
) -> None:
    questions = write_misleading(tmp_path)
    where = ["--db", db, "--runs", "r.db"]
    ragqa("eval", "run", questions, "-c", "default", "--retrieval-only", *where)
    ragqa("eval", "export", "default", "--jsonl", "-o", "baseline.jsonl", "--runs", "r.db")
    command = ["eval", "check", questions, "--baseline", "baseline.jsonl", *where]
    same = ragqa(*command)
    assert same.returncode == 0, same.stderr
    assert same.stdout.endswith("Not significantly worse than the baseline default over 20 questions.\n")
    lost = ragqa(*command, "-c", worse)
    assert lost.returncode == 1
    assert "LOSS" in lost.stdout
    assert "Significantly worse than the baseline default over 20 questions: nDCG@10, RR@10." in lost.stdout
    # By its name, and as JSON.
    stored = ragqa(
        "eval", "check", questions, "--baseline", "1", "-c", worse, "--metric", "nDCG@10", *where, "--json"
    )
    assert stored.returncode == 1
    printed = json.loads(stored.stdout)
    assert printed.keys() == {"baseline", "run", "passed", "differences"}
    assert not printed["passed"]
    assert [difference["metric"] for difference in printed["differences"]] == ["nDCG@10"]


def test_check_has_a_code_of_its_own_for_what_it_cannot_compare(
    ragqa: Run, db: Path, notes: Path, runs: Path, questions: Path, tmp_path: Path
) -> None:
    ragqa("ingest", notes, "--db", "bare.db")
    check = ["eval", "check", questions, "--baseline", "1", "--runs", runs]
    bare = ragqa(*check, "-c", "dense", "--db", "bare.db")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "passages of bare.db are not indexed for this config: ragqa index -c dense" in bare.stderr
    others = write_lines(tmp_path / "others.jsonl", [{"question": "Who?", "relevant": ["who.md"]}])
    about = ragqa("eval", "check", others, "--baseline", "1", "--runs", runs, "--db", db)
    assert (about.returncode, about.stdout) == (2, "")
    assert "None of the 1 relevant documents of others is in" in about.stderr


# -- tune -------------------------------------------------------------------------------------


@pytest.mark.needs("tune")
def test_tune_writes_a_config_that_search_takes(ragqa: Run, db: Path, tmp_path: Path) -> None:
    command = ["eval", "tune", write_misleading(tmp_path), "--budget", "3", "-o", "best.yaml", "--db", db]
    told = ragqa(*command)
    assert told.returncode == 0, told.stderr
    assert "questions kept from the search: " in told.stdout
    written = (tmp_path / "best.yaml").read_text(encoding="utf-8")
    assert told.stdout.startswith(written)
    assert yaml.safe_load(written)["name"] == "tuned"
    found = result(ragqa("search", "green tea", "-c", "best.yaml", "--db", db, "--json"))
    assert found["hits"][0]["document_id"] == "tea.html"
    refused = ragqa(*command)
    assert refused.returncode == 2
    assert refused.stderr == "Error: best.yaml is there already: --force writes over it.\n"
    assert (tmp_path / "best.yaml").read_text(encoding="utf-8") == written
    forced = result(ragqa(*command, "--force", "--json"))
    assert forced.keys() == {"written", "config", "trials", "held_back"}
    assert len(forced["trials"]) == 3


# -- what goes wrong --------------------------------------------------------------------------

HERE = ["--runs", "runs.db"]
FTS = ["-c", "fts", *HERE]
BAD_INPUT: list[Any] = [
    (["run", "none.jsonl", *FTS], "none.jsonl cannot be read as questions: No such file or directory."),
    (["run", "bad.jsonl", *FTS], "bad.jsonl:2 has no question."),
    (["run", "broken.jsonl", *FTS], "broken.jsonl:1 is not JSON"),
    (["run", "empty.jsonl", *FTS], "empty.jsonl is empty."),
    (["run", "asked.jsonl", "--metric", "nDGC@10", *FTS], "There is no metric 'nDGC@10'. Known: "),
    (
        ["run", "asked.jsonl", "-m", "extractiv", *FTS],
        "There is no model 'extractiv'. Did you mean extractive?",
    ),
    (["run", "asked.jsonl", "-o", "heat", "3", *FTS], "None of the models has an option 'heat': extractive."),
    (["run", "asked.jsonl", "-c", "nonsense", *HERE], "There is no config 'nonsense'. Known: "),
    (["run", "asked.jsonl", "--qrels", "none.tsv", *FTS], "none.tsv cannot be read"),
    (
        ["run", "asked.jsonl", "--retrieval-only", "--judge", "extractive", *FTS],
        "There is nothing to judge without answers: leave out --retrieval-only or --judge.",
    ),
    (["list", "--runs", "none.db"], "There are no runs at none.db yet: ragqa eval run QUESTIONS makes some."),
    (["show", "--runs", "none.db"], "There are no runs at none.db yet"),
    (
        ["show", "nowhere", *HERE],
        "There is no run 'nowhere' in runs.db. The last ones: 1 (fts/extractive), 2",
    ),
    (["show", "-q", "nothing", *HERE], "The run 1 fts/extractive has no result for a question 'nothing'."),
    (["diff", "1", "1", *HERE], "1 and 1 are the same run."),
    (["diff", "1", "2", "--metric", "Judge", *HERE], "has no question with a value of Judge."),
    (["compare", "1", *HERE], "There is nothing to compare: name two runs (ragqa eval list)."),
    (["compare", "--baseline", "nowhere", *HERE], "There is no run 'nowhere' in runs.db."),
    (["export", "1", *HERE], "Name one form: --trec, --qrels, --beir or --jsonl."),
    (["export", "1", "--trec", "--beir", *HERE], "Name one form: --trec, --qrels, --beir or --jsonl."),
    (["export", "1", "--trec", "-o", "no/where", *HERE], "no/where cannot be written: No such file"),
    (["rejudge", "-m", "extractiv", *HERE], "There is no model 'extractiv'. Did you mean extractive?"),
    (["rejudge", "-m", "extractive", "--rubric", "nonsense", *HERE], "nonsense"),
    (["report", "--pair", "1", *HERE], "A pair is two runs: --pair A --pair B."),
    (
        ["check", "asked.jsonl", "--baseline", "nowhere", *HERE],
        "There is no file nowhere. There is no run 'nowhere' in runs.db.",
    ),
    (
        ["check", "asked.jsonl", "--baseline", "base.jsonl", "--runs", "new.db"],
        "There is no file base.jsonl.",
    ),
    (
        ["check", "asked.jsonl", "--baseline", "asked.jsonl", *HERE],
        "asked.jsonl cannot be read as a run (KeyError 'form'): ragqa eval export RUN --jsonl makes",
    ),
    (["tune", "asked.jsonl", "-o", "no/where.yaml"], "There is no folder no to write where.yaml to."),
    pytest.param(
        ["tune", "asked.jsonl", "-o", "t.yaml", "--metric", "F1"],
        "F1 is no metric of retrieval",
        marks=pytest.mark.needs("tune"),
    ),
    pytest.param(
        ["tune", "asked.jsonl", "-o", "t.yaml"],
        "asked has 8 questions with a relevant document, and tuning needs 10",
        marks=pytest.mark.needs("tune"),
    ),
]


@pytest.mark.parametrize(("args", "sentence"), BAD_INPUT, ids=lambda value: str(value)[:60])
def test_bad_input_gets_a_sentence_and_an_exit_code(
    ragqa: Run, db: Path, runs: Path, questions: Path, tmp_path: Path, args: list[str], sentence: str
) -> None:
    write_lines(tmp_path / "bad.jsonl", [{"question": "What?"}, {"question": 3}])
    (tmp_path / "broken.jsonl").write_text('{"question": \n')
    (tmp_path / "empty.jsonl").touch()
    told = ragqa("eval", *args, env={"RAGQA_DB": str(db)})
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("Error: ")
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "new.db").exists()


# -- what is imported -------------------------------------------------------------------------

# sqlite_utils only makes a file of runs, and does not read one.
HEAVY_HERE = (*HEAVY, "matplotlib", "optuna", "ir_measures", "scipy", "numpy", "tenacity", "jinja2")


@pytest.mark.parametrize("arguments", [["list"], ["--help"]], ids=lambda arguments: " ".join(arguments))
def test_light_commands_import_nothing_heavy(runs: Path, arguments: list[str]) -> None:
    assert imported(["eval", *arguments], HEAVY_HERE, {"RAGQA_RUNS": str(runs)}) == []
