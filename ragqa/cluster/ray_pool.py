"""Workers in a Ray cluster that share one job's tasks: in order, a few at a time, again where one died."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from ragqa import __version__
from ragqa.cluster.ray_cluster import Cluster, Node
from ragqa.errors import RagqaError

# Tasks that a worker has at a time: one that it does and one that waits, so that it never waits itself.
IN_FLIGHT = 2
# Results that wait for an earlier one, for each worker.
AHEAD = 4
# A machine is looked for so often, and given so long to start a worker where it has cores for one.
LOOK_EVERY_S = 5.0
START_S = 120.0
# Workers that a machine may lose one after the other, and a task, before it is given up.
LOSSES = 3


class Task(Protocol):
    """A part of a job that one worker does; its length is how many passages or questions are in it."""

    def __len__(self) -> int: ...


class Job(Protocol):
    """What workers are for. It travels to them, so it is made of plain values."""

    def load(self) -> Callable[[Any], Any]:
        """Return what does one task; called once in each worker."""


class Worker:
    """What runs in the cluster. Any version of ragqa must be able to say which it is."""

    def version(self) -> str:
        return __version__

    def begin(self, job: Job, slot: int, cores: int) -> None:
        """Load what `job` needs, on the cores of this place of the machine."""
        _keep_to(slot, cores)
        self._do = job.load()

    def do(self, task: Any) -> Any:
        return self._do(task)


def _keep_to(slot: int, cores: int) -> None:
    """Have this process, and the threads that it will start, use `cores` cores; other slots have others."""
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))[slot * cores : (slot + 1) * cores]
        if own:
            os.sched_setaffinity(0, own)


@dataclass(eq=False, slots=True)
class _Hired:
    """A worker as this process knows it: what it was asked by the reference to what will come of it."""

    node: Node
    slot: int
    actor: Any
    since: float
    version: Any
    begun: Any
    loaded: bool = False
    tasks: dict[Any, int] = field(default_factory=dict)

    @property
    def awaited(self) -> list[Any]:
        if self.loaded:
            return [*self.tasks]
        return [self.begun if self.version is None else self.version]


class Pool:
    """The workers of one job: one for each GPU where `gpus`, else one for `worker_cores` of each machine.

    By default a worker has a machine to itself, as this process would: its models use all cores, and are
    in memory once. Machines that join are used, too.
    """

    def __init__(self, cluster: Cluster, job: Job, *, gpus: bool = False) -> None:
        self.cluster = cluster
        self.job = job
        self.gpus = gpus
        self._workers: list[_Hired] = []
        self._losses: Counter[str] = Counter()
        self._last_loss = ""
        self._looked = float("-inf")
        self._done: Counter[str] = Counter()
        self._began = 0.0

    def map(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Yield what comes of each task, in order.

        Raises RagqaError when no worker is left and none can be started, and what a task raised.
        """
        round_ = _Round(iter(tasks))
        while True:
            while round_.is_ready():
                yield round_.next_result()
            self._look_for_machines()
            self._hand_out(round_)
            if round_.is_over():
                return
            self._wait(round_)

    def rates(self) -> dict[str, float]:
        """Return how many passages or questions each machine does in a second, by its name."""
        seconds = time.monotonic() - self._began
        return {name: count / seconds for name, count in sorted(self._done.items()) if seconds}

    def close(self) -> None:
        """Let the workers go."""
        for worker in self._workers:
            _end(worker)
        self._workers.clear()

    # -- workers ------------------------------------------------------------------------------

    def _look_for_machines(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        for worker in [w for w in self._workers if w.version is not None and now - w.since > START_S]:
            self._losses[worker.node.id] += LOSSES
            self._drop(worker, f"no free cores in {START_S:.0f} s")
        for node in self.cluster.nodes():
            if self._losses[node.id] < LOSSES:
                places = range(node.gpus if self.gpus else node.cores // self._cores(node))
                taken = {worker.slot for worker in self._workers if worker.node.id == node.id}
                for slot in places:
                    if slot not in taken:
                        self._workers.append(self._hire(node, slot))
        if not self._workers:
            why = "No node of the Ray cluster has cores for a worker"
            if self._last_loss:
                why = f"No Ray worker is left (the last one: {self._last_loss}), and none can be started"
            raise RagqaError(
                f"{why}. What was done is kept: once there are cores, the same command goes on from there."
            )

    def _cores(self, node: Node) -> int:
        """Return how many cores a worker on `node` has."""
        fair = node.cores // max(node.gpus, 1) if self.gpus else node.cores
        return max(min(self.cluster.worker_cores or fair, node.cores), 1)

    def _hire(self, node: Node, slot: int) -> _Hired:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cores = self._cores(node)
        remote: Any = ray.remote(Worker)
        actor = remote.options(
            num_cpus=cores,
            num_gpus=int(self.gpus),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote()
        version, begun = actor.version.remote(), actor.begin.remote(self.job, slot, cores)
        return _Hired(node, slot, actor, time.monotonic(), version, begun)

    def _drop(self, worker: _Hired, reason: str) -> list[int]:
        """Give a worker up and return the numbers of the tasks that it had."""
        self._workers.remove(worker)
        self._last_loss = f"{worker.node.name}, {reason}"
        _end(worker)
        # Another one can be started in its place at once.
        self._looked = float("-inf")
        return list(worker.tasks.values())

    # -- tasks --------------------------------------------------------------------------------

    def _hand_out(self, round_: _Round) -> None:
        """Give each worker as many tasks as it may have: none a second one while another has none."""
        for many in range(1, IN_FLIGHT + 1):
            for worker in self._workers:
                if worker.loaded and len(worker.tasks) < many:
                    taken = round_.take(AHEAD * len(self._workers))
                    if taken is None:
                        return
                    number, task = taken
                    worker.tasks[worker.actor.do.remote(task)] = number

    def _wait(self, round_: _Round) -> None:
        """Take what comes next of any worker."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        of = {reference: worker for worker in self._workers for reference in worker.awaited}
        ready, _ = ray.wait([*of], num_returns=1, timeout=LOOK_EVERY_S)
        for reference in ready:
            worker = of[reference]
            try:
                value = ray.get(reference)
            except RayTaskError as error:
                raise _cause(error, worker) from error
            except RayError as error:
                self._losses[worker.node.id] += 1
                round_.lose(self._drop(worker, _reason(error)))
            else:
                self._take(worker, reference, value, round_)

    def _take(self, worker: _Hired, reference: Any, value: Any, round_: _Round) -> None:
        if worker.loaded:
            self._losses[worker.node.id] = 0
            self._done[worker.node.name] += round_.finish(worker.tasks.pop(reference), value)
        elif worker.version is None:
            worker.loaded = True
            self._began = self._began or time.monotonic()
        elif value != __version__:
            raise RagqaError(
                f"The node {worker.node.name} has ragqa {value}, and this machine has {__version__}: "
                "a cluster needs the same one everywhere."
            )
        else:
            worker.version = None


class _Round:
    """The tasks of one `map`: those that are out, those that were lost, and what came of the others."""

    def __init__(self, source: Iterator[Task]) -> None:
        self._source = source
        self._tasks: dict[int, Task] = {}
        self._lost: list[int] = []
        self._times_lost: Counter[int] = Counter()
        self._results: dict[int, Any] = {}
        self._next = 0
        self._taken = 0
        self._exhausted = False

    def take(self, ahead: int) -> tuple[int, Task] | None:
        """Return a task with its number, one that was lost first; None where there is none for now."""
        if self._lost:
            number = self._lost.pop(0)
            return number, self._tasks[number]
        if self._exhausted or self._taken >= self._next + ahead:
            return None
        task = next(self._source, None)
        if task is None:
            self._exhausted = True
            return None
        number = self._taken
        self._taken += 1
        self._tasks[number] = task
        return number, task

    def lose(self, numbers: Iterable[int]) -> None:
        """Put tasks back; raises RagqaError for one that workers keep dying over."""
        self._lost = sorted([*self._lost, *numbers])
        self._times_lost.update(numbers)
        for number in numbers:
            if self._times_lost[number] > LOSSES:
                raise RagqaError(
                    f"{self._times_lost[number]} Ray workers died over the same batch: have they too little "
                    "memory? What was done before it is kept."
                )

    def finish(self, number: int, result: Any) -> int:
        """Keep what came of a task, and return the task's length."""
        self._results[number] = result
        return len(self._tasks.pop(number))

    def is_ready(self) -> bool:
        """Tell whether the next result in order is there."""
        return self._next in self._results

    def next_result(self) -> Any:
        self._next += 1
        return self._results.pop(self._next - 1)

    def is_over(self) -> bool:
        """Tell whether there is no task left that something has yet to come of."""
        return self._exhausted and not self._tasks and not self._results


def _end(worker: _Hired) -> None:
    import ray

    with suppress(Exception):  # it may be gone, and Ray with it
        ray.kill(worker.actor)


def _cause(error: Any, worker: _Hired) -> Exception:
    """Return what a task raised, as a sentence that names the machine where it is one for the user."""
    cause = error.cause
    node = worker.node.name
    if isinstance(cause, RagqaError):
        return type(cause)(f"On the node {node}: {cause}")
    if isinstance(cause, ModuleNotFoundError):
        return RagqaError(
            f"The node {node} lacks the package {cause.name!r}: install there what is installed here "
            f"(ragqa {__version__})."
        )
    return cause if isinstance(cause, Exception) else RagqaError(f"On the node {node}: {error}")


def _reason(error: Exception) -> str:
    """Return in a few words why Ray gave a worker up."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError

    if isinstance(error, OutOfMemoryError):
        return "out of memory"
    if isinstance(error, NodeDiedError):
        return "its machine is gone"
    lacking = re.search(r"No module named '([\w.]+)'", str(error))
    if lacking:
        return f"it lacks the package {lacking[1]!r}"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
