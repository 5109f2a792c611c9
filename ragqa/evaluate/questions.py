"""Question sets: what is asked, which documents are relevant to it, and which answers are right.

Read from JSON lines, CSV, BEIR folders, and TREC topics with qrels. Relevance is by document: a
passage counts for its document.
"""

from __future__ import annotations

import csv
import hashlib
import html
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ragqa.errors import UsageError

UNANSWERABLE = "unanswerable"
# How many bad rows are named; a file of another kind is bad in all of them.
NAMED = 5
# A grade is an exponent in some measures.
MOST_GRADE = 100
# A set is held in memory, and one question is read up to 10,000 characters.
MAX_BYTES = 200_000_000
LONGEST_LINE = 1_000_000

Qrels = Mapping[str, Mapping[str, int]]
# A row as read, under the names of JudgedQuestion's file form, and where it stands.
_Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question with its relevance judgements: grade by document id, above 0 is relevant.

    `golden_answers` are right answers, in other words of each other; empty where none is known.
    `unanswerable` is said of a question that the documents do not answer, where a model should refuse.
    """

    id: str
    text: str
    relevant: dict[str, int]
    golden_answers: tuple[str, ...] = ()
    type: str = ""
    unanswerable: bool = False

    @property
    def judged(self) -> bool:
        """Whether a document is known to be relevant: others cannot be measured by what is found."""
        return any(grade > 0 for grade in self.relevant.values())


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions in the order of their files, their ids unique; `name` is for people."""

    name: str
    questions: tuple[JudgedQuestion, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the questions with their judgements."""
        return hashlib.sha256(
            json.dumps([asdict(question) for question in self.questions], sort_keys=True).encode()
        ).hexdigest()

    def sample(self, count: int | None, seed: int, limit: int | None = None) -> QuestionSet:
        """Return `count` questions drawn with `seed`, or the first `limit`, in their order; None: all."""
        kept = list(self.questions)
        if count is not None and count < len(kept):
            chosen = set(random.Random(seed).sample(range(len(kept)), count))
            kept = [question for place, question in enumerate(kept) if place in chosen]
        return replace(self, questions=tuple(kept[:limit]))

    def binary(self) -> QuestionSet:
        """Return the set with every grade above 0 as 1."""
        return replace(
            self,
            questions=tuple(
                replace(question, relevant={d: int(grade > 0) for d, grade in question.relevant.items()})
                for question in self.questions
            ),
        )


def load_questions(paths: Path | Sequence[Path], qrels: Path | None = None) -> QuestionSet:
    """Return the questions of one file or folder, or of several as one set.

    - JSON lines: `question`, and perhaps `id`, `golden_answers`, `relevant` (document ids, or grades by
      document id), `type`. A question whose `golden_answers` and `relevant` are both there and empty is
      unanswerable.
    - CSV with a header of the same names; several answers or ids in a cell are parted by "|".
    - A BEIR folder: `queries.jsonl`, and `qrels/test.tsv` or the only file there.
    - TREC topics (SGML or XML), or lines of id, tab, question.

    `qrels` (TREC's four columns or BEIR's three) gives the judgements, for any of these. Raises
    UsageError that names file and line of what is wrong.
    """
    listed = [paths] if isinstance(paths, Path) else list(paths)
    judgements = None if qrels is None else read_qrels(qrels)
    bad: list[str] = []
    questions: dict[str, JudgedQuestion] = {}
    for path in listed:
        for where, row in _rows(path, judgements, bad):
            question = _question(where, row, judgements, bad)
            if question is None:
                continue
            if question.id in questions:
                bad.append(f"{where} has the id {question.id!r} of an earlier question")
            questions[question.id] = question
    _raise(bad)
    if not questions:
        raise UsageError(f"There is no question in {', '.join(map(str, listed))}.")
    return QuestionSet("+".join(_name(path) for path in listed), tuple(questions.values()))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return grade by document by question, of TREC's `qid 0 docid grade` or BEIR's `qid docid grade`.

    Raises UsageError that names file and line.
    """
    grades: dict[str, dict[str, int]] = {}
    bad = []
    for number, line in enumerate(_lines(path), 1):
        # Ids may hold spaces where tabs part the columns.
        columns = line.split("\t") if line.count("\t") == 2 else line.split()
        columns = [column.strip() for column in columns]
        if not any(columns) or (number == 1 and columns[-1] == "score"):
            continue
        if len(columns) == 4:
            del columns[1]
        try:
            question, document, grade = columns
            grades.setdefault(question, {})[document] = _grade(grade)
        except ValueError:
            bad.append(f"{path}:{number} is no judgement (qid 0 docid grade, or qid docid grade)")
    _raise(bad)
    return grades


def _raise(bad: Sequence[str]) -> None:
    """Raise UsageError that names the first rows that are wrong, if there are any."""
    if bad:
        more = f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise UsageError(f"{'; '.join(bad[:NAMED])}{more}.")


def _rows(path: Path, judgements: Qrels | None, bad: list[str]) -> Iterator[_Row]:
    if path.is_dir():
        return _beir(path, judgements, bad)
    head = next((line for line in _lines(path) if line.strip()), "")
    if not head:
        raise UsageError(f"{path} is empty.")
    if path.suffix.lower() == ".csv":
        return _csv(path, bad)
    if re.match(r"\s*<", head):
        return _topics(path)
    if head.lstrip().startswith("{"):
        return _json_rows(path, bad)
    if path.suffix in (".jsonl", ".ndjson", ".json") or "\t" not in head:
        raise UsageError(
            f"{path} cannot be read as questions: it is neither JSON lines, CSV, TREC topics nor "
            "lines of id, tab, question."
        )
    return _tsv(path, bad)


def _beir(folder: Path, judgements: Qrels | None, bad: list[str]) -> Iterator[_Row]:
    """Yield the judged queries: those of the other splits are no questions of this one."""
    files = sorted((folder / "qrels").glob("*.tsv"))
    test = folder / "qrels" / "test.tsv"
    if judgements is None and test not in files and len(files) != 1:
        raise UsageError(f"{folder} is no BEIR folder: it has no qrels/test.tsv.")
    grades = judgements if judgements is not None else read_qrels(test if test in files else files[0])
    for where, row in _json_rows(folder / "queries.jsonl", bad):
        if str(row.get("_id")) in grades:
            yield where, {"id": row["_id"], "question": row.get("text"), "relevant": grades[str(row["_id"])]}


def _json_rows(path: Path, bad: list[str]) -> Iterator[_Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            # Half a character, which JSON can spell, can be neither stored nor printed.
            json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            bad.append(f"{path}:{number} is not JSON ({error})")
            continue
        if isinstance(row, dict):
            yield f"{path}:{number}", {"id": number, **row}
        else:
            bad.append(f"{path}:{number} is not a JSON object")


def _csv(path: Path, bad: list[str]) -> Iterator[_Row]:
    reader = csv.DictReader(_lines(path))
    try:
        columns, rows = reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num + 1} is not CSV: {error}.") from error
    if "question" not in columns:
        raise UsageError(f"{path}:1 has no column 'question' among {', '.join(columns)}.")
    for number, row in rows:
        where = f"{path}:{number}"
        if None in row:
            bad.append(f"{where} has more cells than the header")
            continue
        lists = {
            name: [part.strip() for part in str(row[name] or "").split("|") if part.strip()]
            for name in ("golden_answers", "relevant")
            if name in row
        }
        yield where, {"id": number, **row, **lists}


def _tsv(path: Path, bad: list[str]) -> Iterator[_Row]:
    for number, line in enumerate(_lines(path), 1):
        identifier, tab, text = line.rstrip("\n").partition("\t")
        if tab:
            yield f"{path}:{number}", {"id": identifier, "question": text}
        elif line.strip():
            bad.append(f"{path}:{number} has no tab between id and question")


def _topics(path: Path) -> Iterator[_Row]:
    """Yield TREC topics: <num> and <title> as of the ad hoc tracks, or a number attribute and <query>."""
    text = "".join(_lines(path))
    line = place = 0
    # A topic whose end is missing must not take the next one with it.
    for topic in re.finditer(
        r"<top(?:ic)?\b(?P<attributes>[^<>]*)>(?P<body>.*?)(?=</?top(?:ic)?\b|\Z)", text, re.S | re.I
    ):
        line += text.count("\n", place, topic.start())
        place = topic.start()
        where = f"{path}:{line + 1}"
        number = re.search(r"\b(?:number|id)\s*=\s*[\"']([^\"']+)", topic["attributes"]) or re.search(
            r"<num>\s*(?:Number:\s*)?([^\s<]+)", topic["body"], re.I
        )
        asked = re.search(r"<(?:title|query|question)>\s*(?:Topic:)?([^<]*)", topic["body"], re.I)
        row = {"question": " ".join(html.unescape(asked[1]).split()) if asked else None}
        yield where, row | ({"id": number[1]} if number else {})


def _question(
    where: str, row: Mapping[str, Any], judgements: Qrels | None, bad: list[str]
) -> JudgedQuestion | None:
    text = row.get("question")
    if not isinstance(text, str) or not text.strip():
        bad.append(f"{where} has no question")
        return None
    identifier = str(row["id"]) if row.get("id") not in (None, "") else ""
    if not identifier:
        bad.append(f"{where} has no id")
        return None
    relevant = row.get("relevant") if judgements is None else judgements.get(identifier, {})
    golden = row.get("golden_answers")
    try:
        return JudgedQuestion(
            id=identifier,
            text=text.strip(),
            relevant=_grades(relevant),
            golden_answers=tuple(_strings("golden_answers", golden)),
            type=str(row.get("type") or ""),
            unanswerable=row.get("type") == UNANSWERABLE
            or (golden is not None and relevant is not None and not golden and not relevant),
        )
    except ValueError as error:
        bad.append(f"{where} {error}")
        return None


def _grade(text: str) -> int:
    grade = int(text)
    if abs(grade) > MOST_GRADE:
        raise ValueError
    return grade


def _grades(value: Any) -> dict[str, int]:
    if isinstance(value, Mapping):
        if not all(isinstance(grade, int) and abs(grade) <= MOST_GRADE for grade in value.values()):
            raise ValueError(f"has a grade in 'relevant' that is no whole number up to {MOST_GRADE}")
        return {str(document): int(grade) for document, grade in value.items()}
    return dict.fromkeys(_strings("relevant", value), 1)


def _strings(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
        raise ValueError(f"has '{name}' that is not a list of strings")
    return [str(item) for item in value]


def _lines(path: Path) -> Iterator[str]:
    try:
        # A pipe or a device may never end.
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} cannot be read as questions: it is no regular file.")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} cannot be read as questions: it is larger than {MAX_BYTES:,} bytes.")
        with path.open(encoding="utf-8-sig", newline="") as lines:
            while line := lines.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise UsageError(f"{path} has a line of more than {LONGEST_LINE:,} characters.")
                yield line
    except OSError as error:
        raise UsageError(f"{path} cannot be read as questions: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}.") from error


def _name(path: Path) -> str:
    """Return what tells a set apart for people: a file called questions says less than its folder."""
    stem = path.resolve().stem if path.is_file() else path.resolve().name
    return path.resolve().parent.name if stem in ("questions", "queries", "topics") else stem


# Between a document's id and the label of one of its pages, where a judgement names that.
PAGE = "#page="


def document_of(name: str) -> str:
    """Return the document that a judgement names, itself or one of its pages."""
    return name.partition(PAGE)[0]


def unknown_documents(
    questions: Iterable[JudgedQuestion], exists: Callable[[Sequence[str]], set[str]]
) -> dict[str, list[str]]:
    """Return, by question id, the relevant documents that `exists` does not find."""
    wanted = {q.id: [d for d, grade in q.relevant.items() if grade > 0] for q in questions}
    there = exists(sorted({document for documents in wanted.values() for document in documents}))
    return {
        identifier: lacking
        for identifier, documents in wanted.items()
        if (lacking := [document for document in documents if document not in there])
    }
