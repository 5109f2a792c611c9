"""`python -m tests.workshop.support`: how far the check of answers against their passages can be trusted.

It checks statements known to be right or wrong against what the config `default` finds. The
documents of each collection are halved: a model of support is fitted to one half of each, and the
other halves are what is reported on.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ragqa.answer.claims import claims_nothing, unmarked
from ragqa.answer.evidence import EvidenceReader
from ragqa.answer.extractive import choose, say
from ragqa.answer.preparation import checker, read_context
from ragqa.answer.reading import PassageReader
from ragqa.answer.support import SUPPORTED, Features, SupportModel, verdict
from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.encoders.embedded.catalogue import fitted_by_default
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.encoders.tokens import Spans, TokenEncoder, Vectors
from ragqa.evaluate.questions import JudgedQuestion, load_questions
from ragqa.pipeline import Pipeline
from ragqa.types import Context, SearchResult, Verdict
from tests.workshop.fitting import Collections, Seed, Transfer, is_fitted, logistic, parse_collection
from tests.workshop.statements import OWN_WORDS, VERBATIM, Statement, Strange, statements, strange

EXTRACTED = "answer of extractive"
TOO_FEW = "too few statements to say"
SHIPPED = SupportModel.of(fitted_by_default())


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement with its features by each block that it is checked with, and by all it cites together.

    `fitted` says that it is of the half of the documents that models are fitted to. `verbatim` are the blocks
    that have it word for word, which is support by definition.
    """

    statement: Statement
    fitted: bool
    by_block: Mapping[int, Features]
    together: Features
    verbatim: Collection[int] = ()

    def support(self, model: SupportModel) -> float:
        by_block = self.supports(model)
        return max([model.support(self.together), *(by_block[number] for number in self.statement.cited)])

    def supports(self, model: SupportModel) -> dict[int, float]:
        """Return the support that each block gives."""
        return {
            number: 1.0 if number in self.verbatim else model.support(features)
            for number, features in self.by_block.items()
        }

    def verdict(self, model: SupportModel) -> Verdict:
        return verdict(self.support(model), max(self.supports(model).values()))


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """The checked statements of a collection, and the median milliseconds of a check, encoding aside."""

    name: str
    checked: Sequence[Checked]
    median_ms: float

    @property
    def held_out(self) -> list[Checked]:
        return [one for one in self.checked if not one.fitted]


@dataclass(frozen=True, slots=True)
class Row:
    """How the check does on statements of one kind: the share warned of, and of right verdicts.

    `precision` is that of the warnings, were there one right statement, verbatim or in words of its own,
    to each of this kind; None for right ones.
    """

    kind: str
    expected: Verdict
    statements: int
    warned: float
    precision: float | None
    verdict: float


def read_collection(
    path: Path,
    db: Path,
    count: int | None,
    seed: int = 0,
    transfer: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> CheckedSet:
    """Ask a sample of a question set and check the statements made of each question.

    With `transfer` none is fitted to.
    """
    everything = load_questions(path)
    others = strange(everything.questions)
    asked = everything.sample(count, seed).questions
    pipeline = Pipeline.from_config("default", db)
    checked: list[Checked] = []
    times: list[float] = []
    for done, question in enumerate(asked, 1):
        checked += _check(pipeline, question, others, seed, is_fitted(question) and not transfer, times)
        advance(done, len(asked))
    pipeline.close()
    return CheckedSet(everything.name, checked, statistics.median(times) if times else 0.0)


def _check(
    pipeline: Pipeline,
    question: JudgedQuestion,
    others: Strange,
    seed: int,
    fitted: bool,
    times: list[float],
) -> Iterator[Checked]:
    result, context = pipeline.context(question.text)
    made = statements(question, context.blocks, others, seed)
    reader = EvidenceReader(lambda: pipeline.check_source)
    made += _extracted(question.text, result, context)
    made = [statement for statement in made if not claims_nothing(statement.text)]
    encoder = _Encoded(
        pipeline.check_source.encoder, list(dict.fromkeys(statement.text for statement in made))
    )
    checking = checker(context, reader, encoder, fitted_by_default())
    numbers = [block.number for block in context.blocks]
    for statement in made:
        start = time.perf_counter()
        (claim,) = checking.claims([statement.text])
        by_block = {number: checking.features(claim, [number]) for number in numbers}
        together = checking.features(claim, statement.cited)
        times.append((time.perf_counter() - start) * 1000)
        given = {number: f for number, f in by_block.items() if number not in statement.hidden}
        yield Checked(statement, fitted, given, together, checking.verbatim(statement.text))


class _Encoded:
    """A TokenEncoder that has encoded all it will be asked for, in one pass."""

    def __init__(self, encoder: TokenEncoder, texts: Sequence[str]) -> None:
        self.identity, self.dimensions = encoder.identity, encoder.dimensions
        self.encode_queries, self.query_spans = encoder.encode_queries, encoder.query_spans
        self._vectors = dict(zip(texts, encoder.encode_documents(texts), strict=True))
        self._spans = dict(zip(texts, encoder.document_spans(texts), strict=True))

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        return [self._vectors[text] for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        return [self._spans[text] for text in texts]


def _extracted(question: str, result: SearchResult, context: Context) -> list[Statement]:
    """Return the quotations that the model `extractive` answers with."""
    read = read_context(result, context, PassageReader(question, LeanPairs))
    return [
        Statement(EXTRACTED, unmarked(say(quote)), (quote.number,), "supported") for quote in choose(read)
    ]


def fit(checked: Sequence[Checked]) -> SupportModel:
    """Fit a model to statements, right and wrong ones weighing the same.

    Raises UsageError when there are none of either.
    """
    material = [one for one in checked if one.statement.kind != EXTRACTED]
    right = np.array([one.statement.expected == "supported" for one in material])
    shares = np.where(right, 1 / max(right.sum(), 1), 1 / max((~right).sum(), 1))
    intercept, *weights = logistic([one.together for one in material], right.tolist(), shares)
    return SupportModel(Features(*(round(weight, 2) for weight in weights)), round(intercept, 2))


def rows(checked: Sequence[Checked], model: SupportModel) -> list[Row]:
    """Return a row for each kind of statement, right ones first."""
    kinds: dict[str, list[Checked]] = {}
    for one in checked:
        kinds.setdefault(one.statement.kind, []).append(one)
    warned = {
        kind: statistics.fmean(one.support(model) < SUPPORTED for one in group)
        for kind, group in kinds.items()
    }
    alarms = statistics.fmean(warned.get(kind, 0.0) for kind in (OWN_WORDS, VERBATIM))
    made = []
    for kind, group in kinds.items():
        expected, share = group[0].statement.expected, warned[kind]
        precision = None if expected == "supported" else share / max(share + alarms, 1e-9)
        right = statistics.fmean(one.verdict(model) == expected for one in group)
        made.append(Row(kind, expected, len(group), share, precision, right))
    return sorted(made, key=lambda row: (row.expected, row.kind))


@dataclass(frozen=True, slots=True)
class Summary:
    """The shares of the wrong statements and of the right ones that a model warns of."""

    wrong: float
    right: float

    @property
    def recall(self) -> float:
        return self.wrong

    @property
    def precision(self) -> float:
        """That of the warnings, were there as many right statements as wrong ones; 0 without a warning."""
        return self.wrong / max(self.wrong + self.right, 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.wrong:.3f} of the wrong and {self.right:.3f} of the right"
            f" (precision {self.precision:.3f}, recall {self.recall:.3f})"
        )


def summary(checked: Sequence[Checked], model: SupportModel) -> Summary | None:
    """Return how many statements a model warns of; None where there are no wrong or no right ones."""
    warned: dict[bool, list[bool]] = {True: [], False: []}
    for one in checked:
        if one.statement.kind != EXTRACTED:
            warned[one.statement.expected == "supported"].append(one.support(model) < SUPPORTED)
    if not all(warned.values()):
        return None
    return Summary(wrong=statistics.fmean(warned[False]), right=statistics.fmean(warned[True]))


def table(
    collections: Collections,
    transfer: Transfer = None,
    questions: Annotated[int, typer.Option(help="How many of each collection are asked.")] = 300,
    seed: Seed = 0,
) -> None:
    """Print how the check does on each kind of statement, and the model that the statements ask for."""
    read = []
    for text in [*collections, *(transfer or [])]:
        path, db = parse_collection(text)
        with show.progress(str(path)) as advance:
            read.append(read_collection(path, db, questions, seed, text in (transfer or []), advance))
    report(read)


def report(collections: Sequence[CheckedSet]) -> None:
    """Print the table of the shipped model, and what models fitted here and there are worth."""
    print("| collection | statement | it is | statements | warned of | precision | right verdict |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for one in collections:
        for row in rows(one.held_out, SHIPPED):
            precision = "" if row.precision is None else f"{row.precision:.3f}"
            print(
                f"| {one.name} | {row.kind} | {row.expected} | {row.statements} | {row.warned:.3f}"
                f" | {precision} | {row.verdict:.3f} |"
            )
    for one in collections:
        print(f"{one.name}: {one.median_ms:.1f} ms a sentence, encoding aside.")
    print(f"Fitted to all: {fit([c for one in collections for c in one.checked if c.fitted])}")
    for one in collections:
        print(f"Shipped, warned of in {one.name}: {summary(one.held_out, SHIPPED) or TOO_FEW}.")
    for source, target in itertools.product(collections, repeat=2):
        material = [c for c in source.checked if c.fitted]
        if not material:
            continue
        model = fit(material)
        found = summary(target.held_out, model) or TOO_FEW
        print(f"Fitted to {source.name}, warned of in {target.name}: {found}.")


if __name__ == "__main__":
    run(lambda: typer.run(table))
