"""Waiting for one's turn, as long as anybody waits for the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ragqa.service.events import Stopped, go_on

# How often a thread that waits for its turn looks whether anybody still wants it to.
LOOK_S = 0.1


class Acquirable(Protocol):
    """A lock or a semaphore."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


@contextmanager
def held(lock: Acquirable, stopped: Stopped, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold `lock` for the block; `waiting` is called once where it is not free.

    Raises StoppedError when nobody waits any more before it is.
    """
    if not lock.acquire(blocking=False):
        waiting()
        while not lock.acquire(timeout=LOOK_S):
            go_on(stopped)
    try:
        yield
    finally:
        lock.release()
