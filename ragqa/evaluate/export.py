"""Runs as files: TREC's run and qrels, BEIR's results, and JSON lines that hold a whole run and read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ragqa.errors import UsageError
from ragqa.evaluate.metrics import qrels_of, ranked_of
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey
from ragqa.safety.untrusted import for_line, to_json

FORM = 1


def trec_run(run: Run) -> Iterator[str]:
    """Yield `qid Q0 docid rank score tag` for every document found; scores are 1 / rank.

    The format parts columns by white space, so that white space in an id is written as in a URL, and so is
    what a terminal would obey.
    """
    tag = _word(run.info.name)
    for question, documents in ranked_of(run).items():
        for rank, (document, score) in enumerate(documents.items(), 1):
            yield f"{_word(question)} Q0 {_word(document)} {rank} {score:.8f} {tag}"


def trec_qrels(run: Run) -> Iterator[str]:
    """Yield `qid 0 docid grade` for every judgement of a question that the run was asked."""
    for question, grades in qrels_of(run).items():
        for document, grade in grades.items():
            yield f"{_word(question)} 0 {_word(document)} {grade}"


def beir_results(run: Run) -> Iterator[str]:
    """Yield BEIR's results, `{qid: {docid: score}}`, as one JSON object."""
    yield to_json(ranked_of(run))


def json_lines(run: Run) -> Iterator[str]:
    """Yield all that is known of a run: a line about it, then one for each question with its result."""
    about = {
        "form": FORM,
        "run": asdict(run.info),
        "question_set": run.question_set.name,
        "grades": {judge: dict(grades) for judge, grades in run.grades.items()},
    }
    yield to_json(about)
    for place, question in enumerate(run.questions):
        result = run.results.get(place)
        line = {**asdict(question), "result": asdict(result) if result else None}
        yield to_json(line)


def read_json_lines(path: Path) -> Run:
    """Return the run in a file that `json_lines` made; raises UsageError when it is none."""
    try:
        # Not splitlines: texts may hold U+2028 and its like, which JSON leaves as they are.
        first, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        if first["form"] != FORM:
            raise UsageError(f"{path} was exported by another ragqa: export it again.")
        about = first["run"]
        info = RunInfo(**{**about, "key": RunKey(**about["key"])})
        results = {
            place: _result(line["result"]) for place, line in enumerate(lines) if line["result"] is not None
        }
        questions = tuple(_question(line) for line in lines)
        grades = {
            judge: {int(place): grade for place, grade in kept.items()}
            for judge, kept in first["grades"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        raise UsageError(
            f"{path} cannot be read as a run ({reason}): ragqa eval export RUN --jsonl makes such files."
        ) from error
    return Run(info, QuestionSet(first["question_set"], questions), results, grades)


def _question(line: dict[str, Any]) -> JudgedQuestion:
    about = {name: value for name, value in line.items() if name != "result"}
    return JudgedQuestion(**{**about, "golden_answers": tuple(about["golden_answers"])})


def _result(stored: dict[str, Any]) -> Result:
    reply = stored["reply"]
    return Result(
        **{
            **stored,
            "ranking": tuple(RankedPassage(**passage) for passage in stored["ranking"]),
            "reply": None if reply is None else Reply(**{**reply, "cited": tuple(reply["cited"])}),
        }
    )


def _word(text: str) -> str:
    return (
        "".join(_escaped(char) if char.isspace() or for_line(char) != char else char for char in text) or "-"
    )


def _escaped(char: str) -> str:
    return quote(char, errors="surrogatepass")
