"""The events of a question, from the thread that answers it to the connection that listens."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from ragqa.errors import BusyError, UsageError, sentence
from ragqa.safety.redaction import redacted, traceback_text
from ragqa.service.events import Event, Stopped, Tell

# A line that is silent for longer may be cut by what stands between.
SILENCE_S = 15.0
FAULT = "This failed by a fault of ragqa's own. What it wrote to its terminal says more."


@dataclass(frozen=True, slots=True)
class Failed:
    """A sentence that says what went wrong, and the HTTP status that says the same."""

    text: str
    status: int


Heard = Event | Failed


async def listen(work: Callable[[Tell, Stopped], object]) -> AsyncGenerator[Heard | None, None]:
    """Do `work` in a thread and yield what it tells; None says that it has been silent for a while.

    When nobody listens any more `work` is told to stop. It has a thread of its own, which may be waiting
    for a model for long and keeps no process from ending.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Heard | None] = asyncio.Queue()
    stopped = threading.Event()

    def put(event: Heard | None) -> None:
        # The loop may be gone by now, and with it whoever listened.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, event)

    def run() -> None:
        try:
            work(put, stopped.is_set)
        except Exception as error:
            # A model that was told to stop has failed, and nobody is there to hear of it.
            if not stopped.is_set():
                put(failure(error))
        finally:
            put(None)

    threading.Thread(target=run, name="ragqa-question", daemon=True).start()
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), SILENCE_S)
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event
    finally:
        stopped.set()


def failure(error: Exception) -> Failed:
    """Return what to say of `error`; one that is nobody's but the program's is printed to stderr."""
    said = sentence(error)
    if said is None:
        print(traceback_text(error), end="", file=sys.stderr)
        said = FAULT
    return Failed(redacted(said), status_of(error))


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error: the request was wrong, somebody else is busy, or it failed."""
    if isinstance(error, UsageError):
        return 400
    return 503 if isinstance(error, BusyError) else 500
