"""How long a model may take: its pieces are made in a thread of their own, which can be left waiting."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

THREAD = "ragqa-model"
# How long a model that is stopped may still take over the piece it is at, before its thread is left behind.
LET_GO_S = 0.5
# How often is looked whether Ctrl-C was pressed.
LOOK_S = 0.3


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds: `silence_s` until a model's first piece and between two of them, `total_s` in all.

    A model that does not stream gives its answer as one piece, and has `total_s` for it.
    """

    silence_s: float = 300.0
    total_s: float = 1800.0


class OvertimeError(Exception):
    """A limit was passed: `total` tells which, `begun` whether something had been said by then."""

    def __init__(self, seconds: float, total: bool, begun: bool) -> None:
        super().__init__(f"nothing within {seconds:g} seconds")
        self.seconds = seconds
        self.total = total
        self.begun = begun


class Puller:
    """Takes pieces of an iterable one at a time, each made in a thread while `next` waits for it.

    The thread is a daemon: what hangs in it does not keep the process from ending.
    """

    def __init__(self, pieces: Callable[[], Iterable[str]], limits: TimeLimits) -> None:
        self._limits = limits
        self._waited = 0.0
        self._begun = False
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._made: SimpleQueue[tuple[str | None, BaseException | None]] = SimpleQueue()
        work = contextvars.copy_context().run
        self.thread = threading.Thread(target=work, args=(self._work, pieces), name=THREAD, daemon=True)
        self.thread.start()

    def next(self) -> str | None:
        """Return the next piece, None after the last; raises what making it raised, or OvertimeError."""
        left = self._limits.total_s - self._waited
        total = left <= self._limits.silence_s
        start = time.monotonic()
        self._wanted.put(True)
        try:
            piece, error = self._wait(start + min(left, self._limits.silence_s))
        except Empty:
            limit = self._limits.total_s if total else self._limits.silence_s
            raise OvertimeError(limit, total, self._begun) from None
        self._waited += time.monotonic() - start
        self._begun = True
        if error is not None:
            raise error
        return piece

    def _wait(self, deadline: float) -> tuple[str | None, BaseException | None]:
        while True:
            # Ctrl-C that comes just before the wait begins does not end it.
            left = deadline - time.monotonic()
            try:
                return self._made.get(timeout=max(0.0, min(left, LOOK_S)))
            except Empty:
                if left <= LOOK_S:
                    raise

    def stop(self) -> bool:
        """Let the thread end, and tell whether it has."""
        self._wanted.put(False)
        self.thread.join(LET_GO_S)
        return not self.thread.is_alive()

    def _work(self, pieces: Callable[[], Iterable[str]]) -> None:
        stream = None
        try:
            while self._wanted.get():
                stream = iter(pieces()) if stream is None else stream
                piece = next(stream, None)
                self._made.put((piece, None))
                if piece is None:
                    return
        except BaseException as error:
            self._made.put((None, error))
        finally:
            # Ends the connection of a model that is behind one.
            close = getattr(stream, "close", None)
            if close is not None:
                close()


def is_left_behind() -> bool:
    """Tell whether a model that nobody waits for any more is still at work in this process."""
    return any(thread.name == THREAD for thread in threading.enumerate())
