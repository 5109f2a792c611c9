"""The plan of a matrix: its cells, each with the run that it adds to and the questions that it needs.

Whatever is wrong with a request is found here, before anything is stored or asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragqa.config import dump_config
from ragqa.encoders.device import may_have_accelerator, resolve_device
from ragqa.errors import UsageError
from ragqa.evaluate.calls import Retries, SharedPause
from ragqa.evaluate.environment import code_version, machine
from ragqa.evaluate.questions import QuestionSet, document_of, unknown_documents
from ragqa.evaluate.runs import DEPTH, RunKey
from ragqa.evaluate.store import RunStore
from ragqa.operations.corpus import index_bytes
from ragqa.pipeline import Pipeline
from ragqa.search.contracts import FullText

if TYPE_CHECKING:
    import llm


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `models` are names, None being each config's own; without `answers` none is asked.

    `options` go to the models that have them. With `resume`, runs of the same key are continued.
    """

    question_set: QuestionSet
    models: Sequence[str | None] = (None,)
    answers: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    retries: Retries = field(default_factory=Retries)
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One config with one model, or none, and the places of the questions that it still needs."""

    run: int
    pipeline: Pipeline
    depth: int
    todo: frozenset[int]
    model: llm.Model | None
    options: Mapping[str, Any]
    pause: SharedPause


def absent_documents(pipelines: Sequence[Pipeline], question_set: QuestionSet) -> dict[str, list[str]]:
    """Return, by question, the relevant documents that the corpus lacks; such a question scores zero.

    Raises UsageError when it lacks all of them, because then the questions are about something else.
    """
    ours = [pipeline for pipeline in pipelines if not pipeline.searches_elsewhere()]
    judged = [question for question in question_set.questions if question.judged]
    if not ours or not judged:
        return {}
    corpus = ours[0].corpus

    def existing(names: Sequence[str]) -> set[str]:
        there = corpus.existing(sorted({document_of(name) for name in names}))
        return {name for name in names if document_of(name) in there}

    absent = unknown_documents(judged, existing)
    relevant = [d for question in judged for d, grade in question.relevant.items() if grade > 0]
    if sum(map(len, absent.values())) == len(relevant):
        raise UsageError(
            f"None of the {len(relevant):,} relevant documents of {question_set.name} is in {corpus.path}, "
            f"such as {relevant[0]!r}: the questions are about other documents, or their ids differ."
        )
    return absent


def make_cells(pipelines: Sequence[Pipeline], plan: Plan, store: RunStore) -> list[Cell]:
    """Return the cells, their runs begun or found; what is wrong is said before any of them is stored."""
    absent = absent_documents(pipelines, plan.question_set)
    models = _Models(plan)
    version = code_version()
    wanted = [
        (pipeline, *(models.get(pipeline, name) if plan.answers else (None, {})))
        for pipeline in pipelines
        for name in (plan.models if plan.answers else (None,))
    ]
    keys = [_key(pipeline, model, options, plan, version) for pipeline, model, options in wanted]
    _check_options(plan.options, wanted)
    environment = machine()
    sizes = {id(pipeline): _size(pipeline) for pipeline in pipelines}
    batch = store.next_batch()
    names: list[str] = []
    cells: list[Cell] = []
    for (pipeline, model, options), key in zip(wanted, keys, strict=True):
        name = pipeline.config.name
        names.append(name if model is None else f"{name}/{model.model_id}")
        run = store.unfinished(key) if plan.resume else None
        # Two configs that differ in name alone have the same key, but a run each.
        if run is None or run in {cell.run for cell in cells}:
            run = store.begin(
                key,
                plan.question_set,
                batch=batch,
                name=_unique(names),
                config_name=name,
                corpus_path=str(pipeline.corpus.path.resolve()),
                index_bytes=sizes[id(pipeline)],
                device=_device(pipeline.config.device),
                environment=environment,
                absent=absent,
            )
        else:
            store.join_batch(run, batch)
        todo = frozenset(range(len(plan.question_set.questions))) - store.done(run)
        cells.append(Cell(run, pipeline, key.depth, todo, model, options, models.pause(model)))
    return cells


def _key(
    pipeline: Pipeline, model: llm.Model | None, options: Mapping[str, Any], plan: Plan, version: str
) -> RunKey:
    config = pipeline.config
    return RunKey(
        question_set=plan.question_set.fingerprint,
        config=dump_config(config),
        corpus=pipeline.fingerprint(),
        model=model.model_id if model else None,
        options=options,
        prompt=pipeline.prompt_text(model) if model else "",
        depth=max(config.k, min(DEPTH, config.candidates)),
        code_version=version,
    )


class _Models:
    """The models of a plan, each found once: one in the process keeps its weights in memory."""

    def __init__(self, plan: Plan) -> None:
        self.given = plan.options
        self._found: dict[str, llm.Model] = {}
        self._pauses: dict[str, SharedPause] = {}

    def get(self, pipeline: Pipeline, wanted: str | None) -> tuple[llm.Model, dict[str, Any]]:
        """Return the model and its options: those given that it has, or else its config's."""
        from ragqa.answer.models import check_options, find_model

        name = wanted or pipeline.config.model
        if name not in self._found:
            self._found[name] = find_model(name)
        model = self._found[name]
        own = pipeline.own_options(wanted)
        given = {key: value for key, value in self.given.items() if key in model.Options.model_fields}
        return model, check_options(model, {**own, **given})

    def pause(self, model: llm.Model | None) -> SharedPause:
        return self._pauses.setdefault(model.model_id if model else "", SharedPause())


def _check_options(
    given: Mapping[str, str], wanted: Sequence[tuple[Pipeline, llm.Model | None, Mapping[str, Any]]]
) -> None:
    for name in given:
        if not any(name in options for _, _, options in wanted):
            models = ", ".join(sorted({model.model_id for _, model, _ in wanted if model})) or "no model"
            raise UsageError(f"None of the models has an option {name!r}: {models}.")


def _size(pipeline: Pipeline) -> int:
    for stage in pipeline.derived().values():
        # Full text is made at the first search; it has no size before.
        if isinstance(stage, FullText):
            stage.prepare()
    return index_bytes(pipeline)


def _device(name: str) -> str:
    return name if name != "auto" else resolve_device("auto") if may_have_accelerator() else "cpu"


def _unique(names: Sequence[str]) -> str:
    """Return the last of `names`, with a number where an earlier one is the same."""
    times = names.count(names[-1])
    return names[-1] if times == 1 else f"{names[-1]} ({times})"
