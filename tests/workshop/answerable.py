"""`python -m tests.workshop.answerable`: how well questions without an answer are told before asking a model.

Where the relevant documents are taken out of what was found, the best of the rest remain: passages about
the same thing that do not hold the answer. It fits on one half of the documents and reports on the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ragqa.answer.answerable import PASSAGES, Signals, hits_evidence, score, signals, stands_out
from ragqa.answer.evidence import EvidenceReader, rank_sentences
from ragqa.answer.reading import PassageReader
from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.encoders.embedded.catalogue import fitted_by_default
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.evaluate.answers import contains_answer
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet, load_questions
from ragqa.matching.encoded import encoded_question
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.types import Hit
from tests.workshop.fitting import Collections, Column, Seed, Transfer, is_fitted, logistic, parse_collection

# What is asked of a corpus, and what an answerable and each unanswerable kind weighs in the fit.
ANSWERABLE, REMOVED, FOREIGN, OWN = "answerable", "removed", "foreign", "unanswerable"
SHARES = {ANSWERABLE: 0.5, REMOVED: 0.4, FOREIGN: 0.1}
# Wrong refusals: those that the thresholds are chosen for, and those that the curve shows.
WRONG = 0.05
CURVE = (0.02, 0.05, 0.1)
# Enough hits that PASSAGES remain without the relevant documents.
DEPTH = 3 * PASSAGES


SHIPPED = fitted_by_default()


@dataclass(frozen=True, slots=True)
class Case:
    """A question with passages that answer it or do not, by its `kind`.

    `sentence` is the score of the best sentence in them; `fitted` tells which half the question is in;
    `ahead` that a passage stands out by the cross-encoder, which spares a question unless refusal is strict.
    """

    collection: str
    kind: str
    fitted: bool
    signals: Signals
    sentence: float
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic regression over Signals (intercept first), and two thresholds for wrong refusals of WRONG.

    Weights and threshold have two decimals, as they are shipped. `sentence_threshold` is for the best
    sentence's score, the simplest alternative.
    """

    weights: tuple[float, ...]
    threshold: float
    sentence_threshold: float


def cases_of(
    name: str,
    questions: Sequence[JudgedQuestion],
    foreign: Sequence[JudgedQuestion],
    db: Path,
    transfer: bool,
) -> Iterator[Case]:
    """Yield the cases of a corpus: its questions, as they are and without their documents, and foreign ones.

    Left out are questions whose documents are not found, and unanswerable ones where what is found holds
    a golden answer by chance. With `transfer` no case is fitted on.
    """
    pipeline = Pipeline.from_config("default", db)
    with show.progress(name) as advance:
        build_index(pipeline, on_passages=advance)
        for done, question in enumerate([*questions, *foreign], 1):
            hits = pipeline.search(question.text, DEPTH).hits
            reader = EvidenceReader(lambda: pipeline.check_source)
            for kind, shown in _kinds(question, hits, done > len(questions)):
                fitted = not transfer and is_fitted(question)
                case = _case(name, kind, fitted, question.text, shown, reader, pipeline)
                if case is not None:
                    yield case
            advance(done, len(questions) + len(foreign))
    pipeline.close()


def _kinds(
    question: JudgedQuestion, hits: Sequence[Hit], foreign: bool
) -> Iterator[tuple[str, Sequence[Hit]]]:
    relevant = {document for document, grade in question.relevant.items() if grade > 0}
    rest = [hit for hit in hits if hit.passage.document_id not in relevant][:PASSAGES]
    by_chance = any(contains_answer(hit.passage.text, question.golden_answers) for hit in rest)
    if foreign or question.unanswerable:
        if not by_chance:
            yield (FOREIGN if foreign else OWN), rest
        return
    if any(hit.passage.document_id in relevant for hit in hits[:PASSAGES]):
        yield ANSWERABLE, hits[:PASSAGES]
        if not by_chance:
            yield REMOVED, rest


def _case(
    collection: str,
    kind: str,
    fitted: bool,
    question: str,
    hits: Sequence[Hit],
    reader: EvidenceReader,
    pipeline: Pipeline,
) -> Case | None:
    query = encoded_question(pipeline.check_source.encoder, question)
    evidence = hits_evidence(reader, hits)
    seen = signals(query, evidence, SHIPPED)
    if seen is None:
        return None
    sentences = [sentence for part in evidence for sentence in rank_sentences(question, query.vectors, part)]
    best = max((sentence.score for sentence in sentences), default=0.0)
    read = PassageReader(question, LeanPairs).read([hit.passage for hit in hits])
    return Case(collection, kind, fitted, seen, best, stands_out([one.score for one in read]))


def fit(cases: Sequence[Case]) -> Model:
    """Return the model fitted to `cases`; each collection counts the same, and in it each kind its share."""
    counts: dict[tuple[str, str], int] = {}
    used = [case for case in cases if case.kind in SHARES]
    for case in used:
        counts[case.collection, case.kind] = counts.get((case.collection, case.kind), 0) + 1
    answerable = np.array([case.kind == ANSWERABLE for case in used])
    shares = np.array([SHARES[case.kind] / counts[case.collection, case.kind] for case in used])
    rows = [(case.signals.match, case.signals.lead) for case in used]
    weights = tuple(round(weight, 2) for weight in logistic(rows, answerable.tolist(), shares))
    scores = np.array([score(case.signals, weights) for case in used])
    sentences = np.array([case.sentence for case in used])
    return Model(
        weights,
        round(float(np.quantile(scores[answerable], WRONG)), 2),
        float(np.quantile(sentences[answerable], WRONG)),
    )


def careful(cases: Sequence[Case], weights: Sequence[float]) -> float:
    """Return the threshold that wrongly refuses WRONG of no collection's answerable questions, at most."""
    scores: dict[str, list[float]] = {}
    for case in cases:
        if case.kind == ANSWERABLE:
            scores.setdefault(case.collection, []).append(score(case.signals, weights))
    return round(min(float(np.quantile(column, WRONG)) for column in scores.values()), 2)


def separation(answerable: Column, other: Column) -> float:
    """Return the AUC: how often an answerable question scores above one that is not; a tie is half."""
    above = answerable[:, None] > other[None, :]
    return float((above + 0.5 * (answerable[:, None] == other[None, :])).mean())


def report(cases: Sequence[Case], model: Model, spare: bool = False) -> Iterator[str]:
    """Yield the table, as Markdown: per collection (and of all together), kind and score what is refused.

    With `spare` the model refuses no question of which a passage stands out.
    """
    curve = " | ".join(f"at {wrong:.0%}" for wrong in CURVE)
    yield f"| collection | unanswerable | by | wrongly refused | rightly refused | AUC | {curve} |"
    yield "| --- | --- | --- | ---: | ---: | ---: |" + " ---: |" * len(CURVE)
    names = dict.fromkeys(case.collection for case in cases)
    # Together they show what one threshold does for collections whose scores differ.
    for collection in [*names, *(["together"] if len(names) > 1 else [])]:
        of = [case for case in cases if collection in (case.collection, "together")]
        for kind in (REMOVED, FOREIGN, OWN):
            if any(case.kind == kind for case in of) and any(case.kind == ANSWERABLE for case in of):
                yield from _lines(collection, kind, of, model, spare)


def _lines(collection: str, kind: str, cases: Sequence[Case], model: Model, spare: bool) -> Iterator[str]:
    for by, threshold in (("model", model.threshold), ("sentence", model.sentence_threshold)):
        good, bad = (
            np.array(
                [
                    score(case.signals, model.weights) if by == "model" else case.sentence
                    for case in cases
                    if case.kind == of
                ]
            )
            for of in (ANSWERABLE, kind)
        )
        spared = [
            np.array([spare and by == "model" and case.ahead for case in cases if case.kind == of])
            for of in (ANSWERABLE, kind)
        ]
        wrongly, rightly = (good < threshold) & ~spared[0], (bad < threshold) & ~spared[1]
        curve = " | ".join(f"{(bad < np.quantile(good, wrong)).mean():.0%}" for wrong in CURVE)
        yield (
            f"| {collection} | {kind} ({len(bad)}) | {by} | {wrongly.mean():.1%} of {len(good)}"
            f" | {rightly.mean():.0%} | {separation(good, bad):.3f} | {curve} |"
        )


def table(
    collections: Collections,
    transfer: Transfer = None,
    sample: Annotated[int, typer.Option(min=1, help="Questions of each collection.")] = 500,
    foreign: Annotated[int, typer.Option(min=0, help="Questions of other collections for each.")] = 100,
    seed: Seed = 0,
) -> None:
    """Fit on half of the documents; print the constants, and what they do on the rest."""
    paths = {text: parse_collection(text) for text in [*collections, *(transfer or [])]}
    sets = {text: load_questions(questions).sample(sample, seed) for text, (questions, _) in paths.items()}
    cases: list[Case] = []
    for text, (_, db) in paths.items():
        others = {name: one for name, one in sets.items() if name != text}
        asked = _foreign(others, foreign, seed)
        cases += cases_of(sets[text].name, sets[text].questions, asked, db, text in (transfer or []))
    model = fit([case for case in cases if case.fitted])
    apart = {sets[text].name for text in transfer or []}
    print(f"answerability={model.weights}")
    # That of the collections for transfer too, which differ most: on them its figure is flattery.
    below = careful([case for case in cases if case.fitted or case.collection in apart], model.weights)
    print(f"refuse_below={below}")
    print(f"refuse_strictly_below={model.threshold}")
    shipped = (SHIPPED.answerability, SHIPPED.refuse_below, SHIPPED.refuse_strictly_below)
    if (model.weights, below, model.threshold) != shipped:
        print(f"That is not what is shipped: {', '.join(map(str, shipped))}.")
    print(f"The best sentence alone: refused below {model.sentence_threshold:.3f}.\n")
    for name, one in (("strict", model), ("auto", replace(model, threshold=below))):
        print(f"{name}:\n")
        for line in report([case for case in cases if not case.fitted], one, spare=name == "auto"):
            print(line)
        print()


def _foreign(others: Mapping[str, QuestionSet], count: int, seed: int) -> list[JudgedQuestion]:
    """Return answerable questions of other collections, as many of each."""
    return [
        question
        for one in others.values()
        for question in one.sample(count // len(others), seed + 1).questions
        if not question.unanswerable
    ]


if __name__ == "__main__":
    run(lambda: typer.run(table))
