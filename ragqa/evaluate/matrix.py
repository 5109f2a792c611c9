"""The matrix: every config by every model over the same questions, what cells share done once.

Question by question, so that all cells meet the same noise of the machine, and what is there after a
while is a fair part of each. A first stage that several configs have in common searches once, and a
config's hits serve all models; each cell's times are those it would have had alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.answer.refusal import REFUSAL, is_refusal
from ragqa.config import StageSettings, dump_config
from ragqa.device import may_have_accelerator, resolve_device
from ragqa.errors import NothingFoundError, RagqaError, UsageError
from ragqa.evaluate.calls import Gate, Outcome, Retries, Workers, call, is_remote
from ragqa.evaluate.environment import code_version, machine
from ragqa.evaluate.questions import QuestionSet, unknown_documents
from ragqa.evaluate.runs import DEPTH, RankedPassage, Reply, Result, RunKey
from ragqa.evaluate.store import RunStore
from ragqa.operations import Storing, index_bytes
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import FullTextRetriever
from ragqa.stages import needs_no_corpus
from ragqa.types import Answer, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.answer.request import ModelRequest

ENCODE = "encode"


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


@dataclass(slots=True)
class Progress:
    """How far a matrix is, over all its cells; tokens and dollars as far as models tell them."""

    total: int
    done: int = 0
    failed: int = 0
    tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class _Cell:
    """One config with one model, or none, and the places of the questions that it still needs."""

    run: int
    pipeline: Pipeline
    depth: int
    todo: frozenset[int]
    model: llm.Model | None
    options: Mapping[str, Any]
    gate: Gate


def run_matrix(
    pipelines: Sequence[Pipeline],
    plan: Plan,
    store: RunStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[int]:
    """Ask every question of every cell, record each result as it comes, and return the runs' numbers.

    Raises UsageError when nothing fits together (an unknown model, a corpus that has none of the
    documents), and RagqaError when the corpus changes meanwhile. What fails in a model is recorded.
    """
    cells = _cells(pipelines, plan, store)
    progress = Progress(sum(len(cell.todo) for cell in cells))
    on_progress(progress)
    asker = _Asker(cells, plan, store, progress, on_progress)
    asker.warm_up()
    for place in range(len(plan.question_set.questions)):
        waiting = [cell for cell in cells if place in cell.todo]
        if waiting:
            asker.ask(place, waiting)
    asker.finish()
    return [cell.run for cell in cells]


class _Asker:
    """Asks one question after the other of the cells that need it."""

    def __init__(
        self,
        cells: Sequence[_Cell],
        plan: Plan,
        store: RunStore,
        progress: Progress,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.plan = plan
        self.store = store
        self.progress = progress
        self.on_progress = on_progress
        self.workers = Workers(plan.workers)
        self._counting = threading.Lock()
        self.pipelines = list({id(cell.pipeline): cell.pipeline for cell in cells if cell.todo}.values())
        self.depths = {id(cell.pipeline): cell.depth for cell in cells}
        self.states = {id(pipeline): _State(pipeline) for pipeline in self.pipelines}

    def warm_up(self) -> None:
        """Load every stage's models, so that no question's time has that in it."""
        # Not the question itself: the encoders would remember it, and it would take no time.
        text = f"{self.plan.question_set.questions[0].text[:1000]} ?"
        for pipeline in self.pipelines:
            pipeline.search(text, self.depths[id(pipeline)])
        _encode(self.pipelines, text)

    def ask(self, place: int, cells: Sequence[_Cell]) -> None:
        text = self.plan.question_set.questions[place].text
        pipelines = list({id(cell.pipeline): cell.pipeline for cell in cells}.values())
        encoded = _encode(pipelines, text)
        first_stages: dict[str, SearchResult] = {}
        for pipeline in pipelines:
            self.states[id(pipeline)].check()
            result = self._search(pipeline, text, first_stages, encoded[id(pipeline)])
            for cell in cells:
                if cell.pipeline is pipeline:
                    self._answer(cell, place, result)

    def finish(self) -> None:
        self.workers.join()

    def _search(
        self, pipeline: Pipeline, text: str, first_stages: dict[str, SearchResult], encode_ms: float | None
    ) -> SearchResult:
        depth = self.depths[id(pipeline)]
        config = pipeline.config
        stage = config.retrieve.model_dump_json()
        corpus = "" if needs_no_corpus(config.retrieve) else pipeline.corpus.path
        key = str((corpus, stage, config.device, config.dtype, config.candidates, depth))
        if key not in first_stages:
            first_stages[key] = pipeline.candidates(text, depth)
        result = pipeline.rerank(first_stages[key], depth)
        encode = {} if encode_ms is None else {ENCODE: encode_ms}
        return SearchResult(result.question, config.name, result.hits, {**encode, **result.timings_ms})

    def _answer(self, cell: _Cell, place: int, result: SearchResult) -> None:
        ranking = _ranking(result)
        if cell.model is None:
            self._record(cell, place, Result("done", ranking, result.timings_ms))
            return
        # The model reads what a question by itself would have given it.
        found = SearchResult(
            result.question, result.config, result.hits[: cell.pipeline.config.k], result.timings_ms
        )
        try:
            request = cell.pipeline.request(found, cell.model, cell.options)
        except NothingFoundError:
            self._record(cell, place, Result("done", ranking, result.timings_ms, Reply(REFUSAL, True)))
            return
        except RagqaError as error:
            # Such as a question that a small model has no room for.
            self._record(cell, place, Result("failed", ranking, result.timings_ms, None, str(error)))
            return
        if is_remote(cell.model):
            self.workers.submit(lambda: self._send(cell, place, ranking, request))
        else:
            self._finish(cell, place, ranking, request, _send_once(request))

    def _send(
        self, cell: _Cell, place: int, ranking: tuple[RankedPassage, ...], request: ModelRequest
    ) -> None:
        outcome = call(lambda: request.send(log=False), self.plan.retries, cell.gate)
        self._finish(cell, place, ranking, request, outcome)

    def _finish(
        self,
        cell: _Cell,
        place: int,
        ranking: tuple[RankedPassage, ...],
        request: ModelRequest,
        outcome: Outcome[Answer],
    ) -> None:
        answer = outcome.value
        if answer is None:
            reason = str(outcome.error)
            failed = Result("failed", ranking, request.timings_ms, None, reason, outcome.attempts)
            self._record(cell, place, failed)
            return
        reply = Reply(
            text=answer.text,
            refused=is_refusal(answer.text),
            cited=tuple(dict.fromkeys(citation.passage.document_id for citation in answer.citations)),
            context=answer.context.text,
            context_tokens=answer.context.tokens,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost=answer.cost,
        )
        result = Result("done", ranking, answer.timings_ms, reply, attempts=outcome.attempts)
        self._record(cell, place, result)

    def _record(self, cell: _Cell, place: int, result: Result) -> None:
        self.store.record(cell.run, place, result)
        # Workers record too.
        with self._counting:
            self.progress.done += 1
            self.progress.failed += result.status == "failed"
            if result.reply is not None:
                self.progress.tokens += (result.reply.input_tokens or 0) + (result.reply.output_tokens or 0)
                self.progress.cost += result.reply.cost or 0.0
            self.on_progress(self.progress)


class _State:
    """Notices that somebody changes the documents while they are being asked."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.seen = pipeline.corpus.state()
        self.fingerprint = corpus_fingerprint(pipeline)

    def check(self) -> None:
        seen = self.pipeline.corpus.state()
        if seen != self.seen:
            self.seen = seen
            if corpus_fingerprint(self.pipeline) != self.fingerprint:
                raise RagqaError(
                    f"The corpus {self.pipeline.corpus.path} was changed while it was asked. What was done "
                    "is kept, and ragqa eval run begins anew with the corpus as it is now."
                )


def corpus_fingerprint(pipeline: Pipeline) -> str:
    """Return what tells one state of the documents from another.

    Of somebody else's database that is its path, size and time, because it may be of any size.
    """
    databases = []
    for path in _databases(pipeline.config.retrieve):
        with suppress(OSError):
            about = path.stat()
            databases.append(f" {path}:{about.st_size}:{about.st_mtime_ns}")
    return pipeline.corpus.fingerprint() + "".join(databases)


def absent_documents(pipelines: Sequence[Pipeline], question_set: QuestionSet) -> dict[str, list[str]]:
    """Return, by question, the relevant documents that the corpus lacks; such a question scores zero.

    Raises UsageError when it lacks all of them, because then the questions are about something else.
    """
    ours = [pipeline for pipeline in pipelines if not needs_no_corpus(pipeline.config.retrieve)]
    judged = [question for question in question_set.questions if question.judged]
    if not ours or not judged:
        return {}
    corpus = ours[0].corpus
    absent = unknown_documents(judged, corpus.existing)
    relevant = [d for question in judged for d, grade in question.relevant.items() if grade > 0]
    if sum(map(len, absent.values())) == len(relevant):
        raise UsageError(
            f"None of the {len(relevant):,} relevant documents of {question_set.name} is in {corpus.path}, "
            f"such as {relevant[0]!r}: the questions are about other documents, or their ids differ."
        )
    return absent


def _cells(pipelines: Sequence[Pipeline], plan: Plan, store: RunStore) -> list[_Cell]:
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
    cells: list[_Cell] = []
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
        cells.append(_Cell(run, pipeline, key.depth, todo, model, options, models.gate(model)))
    return cells


def _key(
    pipeline: Pipeline, model: llm.Model | None, options: Mapping[str, Any], plan: Plan, version: str
) -> RunKey:
    config = pipeline.config
    return RunKey(
        question_set=plan.question_set.fingerprint,
        config=dump_config(config),
        corpus=corpus_fingerprint(pipeline),
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
        self._gates: dict[str, Gate] = {}

    def get(self, pipeline: Pipeline, wanted: str | None) -> tuple[llm.Model, dict[str, Any]]:
        """Return the model and its options: those given that it has, or else its config's."""
        from ragqa.answer.models import check_options, find_model

        config = pipeline.config
        name = wanted or config.model
        if name not in self._found:
            self._found[name] = find_model(name)
        model = self._found[name]
        own = config.options if wanted in (None, config.model) else {}
        given = {key: value for key, value in self.given.items() if key in model.Options.model_fields}
        return model, check_options(model, {**own, **given})

    def gate(self, model: llm.Model | None) -> Gate:
        return self._gates.setdefault(model.model_id if model else "", Gate())


def _check_options(
    given: Mapping[str, str], wanted: Sequence[tuple[Pipeline, llm.Model | None, Mapping[str, Any]]]
) -> None:
    for name in given:
        if not any(name in options for _, _, options in wanted):
            models = ", ".join(sorted({model.model_id for _, model, _ in wanted if model})) or "no model"
            raise UsageError(f"None of the models has an option {name!r}: {models}.")


def _encode(pipelines: Sequence[Pipeline], text: str) -> dict[int, float | None]:
    """Encode a question with every encoder of `pipelines`; return the milliseconds of each pipeline's.

    The encoders remember it, so that the stages need not. None: a pipeline has no encoder.
    """
    from ragqa.colbert.store import TokenStore
    from ragqa.retrieve.embeddings import DenseStore, EmbeddedEmbedder

    took: dict[int, float] = {}
    used: dict[int, set[int]] = {}
    for pipeline in pipelines:
        stages = pipeline.derived().values()
        for store in (store for stage in stages if isinstance(stage, Storing) for store in stage.stores):
            encode: Callable[[Sequence[str]], object]
            if isinstance(store, TokenStore):
                encoder, encode = store.encoder, store.encoder.encode_queries
            elif isinstance(store, DenseStore) and isinstance(store.embedder, EmbeddedEmbedder):
                encoder, encode = store.embedder.encoder, store.embedder.embed_queries
            elif isinstance(store, DenseStore):
                encoder, encode = store.embedder, store.embedder.embed_queries  # type: ignore[assignment]
            else:
                continue
            used.setdefault(id(pipeline), set()).add(id(encoder))
            if id(encoder) not in took:
                start = time.perf_counter()
                encode([text])
                took[id(encoder)] = (time.perf_counter() - start) * 1000
    return {
        id(pipeline): round(sum(took[encoder] for encoder in used[id(pipeline)]), 2)
        if id(pipeline) in used
        else None
        for pipeline in pipelines
    }


def _send_once(request: ModelRequest) -> Outcome[Answer]:
    """Send a request to a model in the process, where trying again would fail again."""
    try:
        return Outcome(request.send(log=False), None, 1)
    except RagqaError as error:
        return Outcome(None, error, 1)


def _ranking(result: SearchResult) -> tuple[RankedPassage, ...]:
    return tuple(
        RankedPassage(hit.passage.document_id, hit.passage.id, hit.score, dict(hit.scores))
        for hit in result.hits
    )


def _databases(stage: StageSettings) -> list[Path]:
    """Return the databases that a first stage, or one that it is made of, reads in place."""

    def walk(value: Any) -> list[Path]:
        if isinstance(value, Mapping):
            own = [Path(str(value["database"])).expanduser()] if value.get("database") else []
            return own + [path for inner in value.values() for path in walk(inner)]
        return [path for inner in value for path in walk(inner)] if isinstance(value, list | tuple) else []

    return walk(stage.model_dump())


def _size(pipeline: Pipeline) -> int:
    for stage in pipeline.derived().values():
        # Full text is made at the first search; it has no size before.
        if isinstance(stage, FullTextRetriever):
            stage.prepare()
    return index_bytes(pipeline)


def _device(name: str) -> str:
    return name if name != "auto" else resolve_device("auto") if may_have_accelerator() else "cpu"


def _unique(names: Sequence[str]) -> str:
    """Return the last of `names`, with a number where an earlier one is the same."""
    times = names.count(names[-1])
    return names[-1] if times == 1 else f"{names[-1]} ({times})"
