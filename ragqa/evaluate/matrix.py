"""The matrix: every config by every model over the same questions, what cells share done once.

Question by question, so that all cells meet the same noise of the machine, and what is there after a
while is a fair part of each. A first stage that several configs have in common searches once, and a
config's hits serve all models; each cell's times are those it would have had alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ragqa.answer.limits import TimeLimits
from ragqa.answer.models import is_remote
from ragqa.errors import RagqaError
from ragqa.evaluate.calls import Outcome, Workers, call
from ragqa.evaluate.plan import Cell, Plan, make_cells
from ragqa.evaluate.runs import RankedPassage, Reply, Result
from ragqa.evaluate.store import RunStore
from ragqa.pipeline import Pipeline
from ragqa.search.many import SearchEngine, SharedQuestion, SharedSearch
from ragqa.types import Answer, Passage, SearchResult

if TYPE_CHECKING:
    from ragqa.answer.request import ModelRequest


@dataclass(slots=True)
class Progress:
    """How far a matrix is, over all its cells; tokens and dollars as far as models tell them."""

    total: int
    done: int = 0
    failed: int = 0
    tokens: int = 0
    cost: float = 0.0


def run_matrix(
    pipelines: Sequence[Pipeline],
    plan: Plan,
    store: RunStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    engine: SearchEngine | None = None,
) -> list[int]:
    """Ask every question of every cell, record each result as it comes, and return the runs' numbers.

    With an `engine`, that searches; models are asked by this process. Raises UsageError when nothing fits
    together (an unknown model, a corpus that has none of the documents), and RagqaError when the corpus
    changes meanwhile. What fails in a model is recorded.
    """
    cells = make_cells(pipelines, plan, store)
    progress = Progress(sum(len(cell.todo) for cell in cells))
    on_progress(progress)
    asker = _Asker(cells, plan, store, progress, on_progress)
    asker.ask_all(engine)
    return [cell.run for cell in cells]


class _Asker:
    """Asks one question after the other of the cells that need it, and records what came of it."""

    def __init__(
        self,
        cells: Sequence[Cell],
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
        depths = {id(cell.pipeline): cell.depth for cell in cells}
        self.searchers = SharedSearch(self.pipelines, [depths[id(pipeline)] for pipeline in self.pipelines])
        self.states = [_State(pipeline) for pipeline in self.pipelines]
        self.cells = cells

    def ask_all(self, engine: SearchEngine | None) -> None:
        """Ask every question of every cell that needs it."""
        todo = [
            (place, asked)
            for place, question in enumerate(self.plan.question_set.questions)
            if (asked := SharedQuestion(question.text, self._waiting(place))).places
        ]
        # Not the question itself: the encoders would remember it, and it would take no time.
        warm_up = f"{self.plan.question_set.questions[0].text[:1000]} ?"
        if engine is None or any(cell.model is not None for cell in self.cells):
            self.searchers.warm_up(warm_up)
        questions = [asked for _, asked in todo]
        found: Iterator[Iterable[tuple[int, SearchResult]]] = map(self.searchers.search, questions)
        if engine is not None:
            found = engine.results(self.searchers, warm_up, questions)
        for (place, _), results in zip(todo, found, strict=True):
            self._record_all(place, results)
        self.workers.join()

    def _waiting(self, place: int) -> tuple[int, ...]:
        """Return the places of the pipelines that a question is to be asked of."""
        wanted = {id(cell.pipeline) for cell in self.cells if place in cell.todo}
        return tuple(number for number, pipeline in enumerate(self.pipelines) if id(pipeline) in wanted)

    def _record_all(self, place: int, results: Iterable[tuple[int, SearchResult]]) -> None:
        for number, result in results:
            self.states[number].check()
            for cell in self.cells:
                if cell.pipeline is self.pipelines[number] and place in cell.todo:
                    self._answer(cell, place, result)

    def _answer(self, cell: Cell, place: int, result: SearchResult) -> None:
        ranking = _ranking(result)
        if cell.model is None:
            self._record(cell, place, Result("done", ranking, result.timings_ms))
            return
        # The model reads what a question by itself would have given it.
        found = SearchResult(
            result.question, result.config, result.hits[: cell.pipeline.config.k], result.timings_ms
        )
        try:
            request = cell.pipeline.request(found, cell.model, cell.options, check=False)
        except RagqaError as error:
            # Such as a question that a small model has no room for.
            self._record(cell, place, Result("failed", ranking, result.timings_ms, None, str(error)))
            return
        if is_remote(cell.model):
            self.workers.submit(lambda: self._send(cell, place, ranking, request))
        else:
            self._finish(cell, place, ranking, request, _send_once(request))

    def _send(
        self, cell: Cell, place: int, ranking: tuple[RankedPassage, ...], request: ModelRequest
    ) -> None:
        retries = self.plan.retries
        timely = replace(request, limits=TimeLimits(retries.timeout_s, retries.timeout_s))
        outcome = call(lambda: timely.send(log=False), retries, cell.pause)
        self._finish(cell, place, ranking, request, outcome)

    def _finish(
        self,
        cell: Cell,
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
            refused=bool(answer.refused),
            cited=tuple(dict.fromkeys(citation.passage.document_id for citation in answer.citations)),
            context=answer.context.text,
            context_tokens=answer.context.tokens,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost=answer.cost,
        )
        result = Result("done", ranking, answer.timings_ms, reply, attempts=outcome.attempts)
        self._record(cell, place, result)

    def _record(self, cell: Cell, place: int, result: Result) -> None:
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
        self.fingerprint = pipeline.fingerprint()

    def check(self) -> None:
        seen = self.pipeline.corpus.state()
        if seen != self.seen:
            self.seen = seen
            if self.pipeline.fingerprint() != self.fingerprint:
                raise RagqaError(
                    f"The corpus {self.pipeline.corpus.path} was changed while it was asked. What was done "
                    "is kept, and ragqa eval run begins anew with the corpus as it is now."
                )


def _send_once(request: ModelRequest) -> Outcome[Answer]:
    """Send a request to a model in the process, where trying again would fail again."""
    try:
        return Outcome(request.send(log=False), None, 1)
    except RagqaError as error:
        return Outcome(None, error, 1)


def page_of(passage: Passage) -> str:
    """Return the label of the page that a passage stands on; "" where it stands on none."""
    return passage.place.label if passage.place is not None and passage.place.kind == "page" else ""


def _ranking(result: SearchResult) -> tuple[RankedPassage, ...]:
    return tuple(
        RankedPassage(
            hit.passage.document_id, hit.passage.id, hit.score, dict(hit.scores), page_of(hit.passage)
        )
        for hit in result.hits
    )
