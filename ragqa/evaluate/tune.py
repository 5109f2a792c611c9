"""Tuning: the config that serves a question set best, and what it is worth on questions held back.

The questions are split in two: the search looks at one part alone, and the other then says what the
choice gained. Without that the best of many configs always looks better than it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ragqa.config import ChunkSettings, Config, config_file, dump_config, explain, load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import corpus_chunking
from ragqa.errors import UsageError, require
from ragqa.evaluate.metrics import Metric, parse_metrics, retrieval_values
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.significance import Difference, compare
from ragqa.evaluate.tuning.copies import working_copy
from ragqa.evaluate.tuning.search import Finder
from ragqa.evaluate.tuning.space import DEPTHS, Space, cost
from ragqa.operations.corpus import build_index, missing_passages
from ragqa.pipeline import Pipeline

# The shipped configs that are tried before any other.
SHIPPED = ("fts", "dense", "hybrid", "fts-colbert", "hybrid-colbert", "default")
# With fewer questions, neither part of them says anything.
FEWEST = 10
NAME = "tuned"
# In a row, after which there seems to be nothing left to try.
MOST_REPEATS = 100

OnPassages = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """`held_back` is the share of questions that the choice never sees, `budget` how many configs are tried.

    `chunks` are passage sizes in tokens to try besides the corpus' own; `baseline` is the config (a
    shipped name or a path) that the best one is compared with.
    """

    metric: str = "nDCG@10"
    budget: int = 50
    held_back: float = 0.4
    seed: int = 0
    chunks: tuple[int, ...] = ()
    device: str = "auto"
    baseline: str = "default"


@dataclass(frozen=True, slots=True)
class Trial:
    """A config that was tried; `value` is the metric's mean over the tuning part. `number` counts from 0."""

    number: int
    config: Config
    value: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it; `difference` is the best config less the baseline, over the questions held back."""

    best: Config
    baseline: Config
    metric: str
    question_set: str
    trials: tuple[Trial, ...]
    tuning_questions: int
    held_back_questions: int
    best_tuning: float
    baseline_tuning: float
    best_held_back: float
    baseline_held_back: float
    difference: Difference

    def yaml(self) -> str:
        """Return the best config as a file, which says of itself what it was chosen for and is worth."""
        metric, other = self.metric, self.baseline.name
        gain = self.difference
        comments = [
            f"The best of {len(self.trials):,} configs for {self.question_set} by {metric}.",
            f"On the {self.tuning_questions:,} questions that it was chosen by: {metric} "
            f"{self.best_tuning:.4f}, {other} {self.baseline_tuning:.4f}.",
            f"On the {self.held_back_questions:,} questions held back: {metric} "
            f"{self.best_held_back:.4f}, {other} {self.baseline_held_back:.4f};",
            f"the difference is {gain.mean.value:+.4f} (95% interval {gain.mean.low:+.4f} to "
            f"{gain.mean.high:+.4f}, p = {gain.p:.3g}),",
            f"with {gain.wins:,} questions better, {gain.ties:,} equal, {gain.losses:,} worse.",
        ]
        if gain.wins + gain.losses and not gain.significant:
            comments.append(
                f"That may be chance: only a difference of {gain.detectable:.4f} would likely show here."
            )
        return config_file(self.best, comments)


def tune(
    corpus: Corpus,
    questions: QuestionSet,
    settings: TuneSettings,
    on_trial: Callable[[Trial, int], None] = lambda trial, budget: None,
    on_passages: OnPassages = lambda done, total: None,
) -> Tuned:
    """Return the config with the highest mean of a retrieval metric on one part of `questions`.

    Builds what the corpus lacks of the shipped `default` config's index, told to `on_passages`; each
    trial is told to `on_trial` with the budget. Among equal configs the cheaper is the best. Raises
    UsageError when there is too little to choose by, or a setting is wrong, and RagqaError without Optuna.
    """
    require("optuna", "ragqa eval tune", "ragqa[tune]")
    metric = _metric(settings)
    where = load_config(settings.baseline).where
    space = Space(_chunks(corpus, settings.chunks), settings.device, where)
    judged = _judged(corpus, questions)
    tuning, held_back = split(judged, settings.held_back, settings.seed)
    baseline = _fitted(settings.baseline, space)
    with ExitStack() as stack:
        corpora = {space.chunks[0]: corpus}
        for chunk in space.chunks[1:]:
            corpora[chunk] = stack.enter_context(working_copy(corpus, chunk, on_passages))
        for chunk, copy in corpora.items():
            _build(_fitted("default", space).model_copy(update={"chunk": chunk}), copy, on_passages)
        _build(baseline, corpus, on_passages)
        bench = _Bench(Finder(corpora, max(DEPTHS)), space, metric)
        trials = _search(bench, tuning, settings, on_trial)
        chosen = min(trials, key=lambda trial: (-round(trial.value, 9), cost(trial.config), trial.number))
        before = bench.values(baseline, tuning), bench.values(baseline, held_back)
        after = bench.values(chosen.config, held_back)
    description = f"Tuned for {metric.name} on {' '.join(questions.name.split())}."
    return Tuned(
        best=chosen.config.model_copy(update={"name": NAME, "description": description}),
        baseline=baseline,
        metric=metric.name,
        question_set=questions.name,
        trials=tuple(trials),
        tuning_questions=len(tuning),
        held_back_questions=len(held_back),
        best_tuning=chosen.value,
        baseline_tuning=float(before[0].mean()),
        best_held_back=float(after.mean()),
        baseline_held_back=float(before[1].mean()),
        difference=compare([(baseline.name, NAME, after - before[1])], metric.name)[0],
    )


def split(
    questions: Sequence[JudgedQuestion], held_back: float, seed: int
) -> tuple[list[JudgedQuestion], list[JudgedQuestion]]:
    """Return the questions to tune by and the share `held_back`, drawn with `seed`, of each type alike.

    Raises UsageError when a part would have fewer than two.
    """
    rng = random.Random(seed)
    shuffled: list[JudgedQuestion] = []
    for kind in sorted({question.type for question in questions}):
        of_kind = [question for question in questions if question.type == kind]
        rng.shuffle(of_kind)
        shuffled.extend(of_kind)
    # Every so many in a row that has the types one after the other: each gets its share, up to one.
    chosen = {
        question.id
        for place, question in enumerate(shuffled)
        if int((place + 1) * held_back + 0.5) > int(place * held_back + 0.5)
    }
    tuning = [question for question in questions if question.id not in chosen]
    kept = [question for question in questions if question.id in chosen]
    if not 0 < held_back < 1 or min(len(tuning), len(kept)) < 2:
        raise UsageError(
            f"Of {len(questions):,} judged questions, a share of {held_back:g} held back leaves "
            "too few on one side: it must be between 0 and 1, 0.4 for example."
        )
    return tuning, kept


class _Bench:
    """Measures configs; what it measured once it knows."""

    def __init__(self, finder: Finder, space: Space, metric: Metric) -> None:
        self.finder = finder
        self.space = space
        self.metric = metric
        self._kept: dict[tuple[str, tuple[str, ...]], NDArray[np.float64]] = {}

    def key(self, config: Config) -> str:
        """Return what two configs share that find the same."""
        point = self.space.point(config)
        return dump_config(config) if point is None else repr(sorted(point.items()))

    def values(self, config: Config, questions: Sequence[JudgedQuestion]) -> NDArray[np.float64]:
        """Return the metric of each question."""
        key = self.key(config), tuple(question.id for question in questions)
        if key not in self._kept:
            documents = self.finder.documents(config, questions)
            relevant = [question.relevant for question in questions]
            (column,) = retrieval_values([self.metric], relevant, documents, config.name).values()
            self._kept[key] = np.array(column)
        return self._kept[key]


def _search(
    bench: _Bench,
    questions: Sequence[JudgedQuestion],
    settings: TuneSettings,
    on_trial: Callable[[Trial, int], None],
) -> list[Trial]:
    """Return the trials of a search with TPE, shipped configs first, no config twice.

    The tree-structured Parzen estimator (Bergstra, Bardenet, Bengio and Kégl 2011, NeurIPS 24) draws
    several configs like the best trials so far, and tries the one that is likest them and least like
    the others. Where that is one that it has had, a single draw takes its place.
    """
    import optuna

    likely = optuna.samplers.TPESampler(seed=settings.seed)
    other = optuna.samplers.TPESampler(seed=settings.seed, n_ei_candidates=1)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=likely)
    finally:
        optuna.logging.set_verbosity(verbosity)
    shipped = []
    for config in (_fitted(name, bench.space) for name in SHIPPED):
        point = bench.space.point(config)
        if point is not None:
            study.enqueue_trial(point)
            shipped.append(config)
    trials: list[Trial] = []
    seen: set[str] = set()
    repeats = 0
    while len(trials) < settings.budget and repeats < MOST_REPEATS:
        number = len(trials)
        study.sampler = other if repeats else likely
        asked = study.ask()
        point = bench.space.suggest(asked)
        config = shipped[number] if number < len(shipped) else bench.space.config(point, f"trial-{number}")
        if (key := bench.key(config)) in seen:
            # Told again, it would draw the search to where it has been.
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
            repeats += 1
            continue
        seen.add(key)
        repeats = 0
        trial = Trial(number, config, float(bench.values(config, questions).mean()))
        study.tell(asked, trial.value)
        trials.append(trial)
        on_trial(trial, settings.budget)
    return trials


def _fitted(name: str, space: Space) -> Config:
    """Return a config by name, for the corpus as it is cut and the device that is asked for."""
    config = load_config(name)
    device = config.device if space.device == "auto" else space.device
    return config.model_copy(update={"chunk": space.chunks[0], "device": device})


def _build(config: Config, corpus: Corpus, on_passages: OnPassages) -> None:
    """Make what is missing; a read-only corpus that has everything is left alone."""
    pipeline = Pipeline(config, corpus)
    if any(missing_passages(pipeline).values()):
        build_index(pipeline, on_passages=on_passages)


def _metric(settings: TuneSettings) -> Metric:
    (metric,) = parse_metrics([settings.metric])
    if metric.measure is None:
        raise UsageError(f"{metric.name} is no metric of retrieval, which is what is tuned: try nDCG@10.")
    if settings.budget < 1:
        raise UsageError(f"The budget is {settings.budget} configs, and at least one must be tried.")
    return metric


def _chunks(corpus: Corpus, sizes: Sequence[int]) -> tuple[ChunkSettings, ...]:
    """Return the ways to cut the corpus: its own, and `sizes` with the same overlap where it fits."""
    own = corpus_chunking(corpus)
    if own is None:
        raise UsageError(f"The corpus {corpus.path} is empty: ragqa ingest SOURCE fills it.")
    try:
        others = [ChunkSettings(tokens=size, overlap=min(own.overlap, size // 2)) for size in sizes]
    except ValidationError as error:
        raise UsageError(f"A passage size is wrong: {explain(error, ChunkSettings)}") from error
    return own, *{chunk.tokens: chunk for chunk in others if chunk.tokens != own.tokens}.values()


def _judged(corpus: Corpus, questions: QuestionSet) -> list[JudgedQuestion]:
    """Return the questions that can be measured."""
    judged = [question for question in questions.questions if question.judged]
    if len(judged) < FEWEST:
        raise UsageError(
            f"{questions.name} has {len(judged):,} questions with a relevant document, and tuning needs "
            f"{FEWEST} at least."
        )
    relevant = {document for question in judged for document, grade in question.relevant.items() if grade > 0}
    if not corpus.existing(sorted(relevant)):
        raise UsageError(
            f"None of the documents that {questions.name} names as relevant is in {corpus.path}: "
            "are its ids those that the documents were ingested under?"
        )
    return judged
