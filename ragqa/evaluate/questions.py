"""Question sets: what is asked, and which documents are relevant to it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragqa.errors import UsageError


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question with its relevance judgements: grade by document id, above 0 is relevant.

    `golden_answers` are right answers, in other words of each other; empty where none is known.
    """

    id: str
    text: str
    relevant: dict[str, int]
    golden_answers: tuple[str, ...] = ()


def load_questions(path: Path) -> list[JudgedQuestion]:
    """Return the judged questions of a BEIR folder (queries.jsonl, qrels/test.tsv) or of a JSONL file.

    A JSONL line has `question`, and may have `id`, `relevant` (document ids) and `golden_answers`.
    Raises UsageError that names file and line.
    """
    if path.is_dir():
        return list(_beir(path))
    return list(_json_lines(path))


def _beir(folder: Path) -> Iterator[JudgedQuestion]:
    grades: dict[str, dict[str, int]] = {}
    qrels = folder / "qrels" / "test.tsv"
    try:
        with qrels.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                grades.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{qrels} cannot be read as BEIR judgements: {error}.") from error
    for _, record in _objects(folder / "queries.jsonl"):
        if record["_id"] in grades:
            yield JudgedQuestion(record["_id"], record["text"], grades[record["_id"]])


def _json_lines(path: Path) -> Iterator[JudgedQuestion]:
    for number, record in _objects(path):
        text = record.get("question")
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{path}:{number} has no question.")
        relevant = {str(document_id): 1 for document_id in record.get("relevant") or ()}
        golden = tuple(str(answer) for answer in record.get("golden_answers") or ())
        yield JudgedQuestion(str(record.get("id", number)), text, relevant, golden)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise UsageError(f"{path}:{number} is not a JSON object.")
                    yield number, record
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read as questions: {reason}.") from error
