"""Calls of models that may fail: tried again, several at a time.

What is transient (a rate limit, a server's error, a lost connection, no answer in time) is tried again
after a pause that doubles, and all calls of the same model wait with it: a limit is the account's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from ragqa.errors import RagqaError

_Value = TypeVar("_Value")

LONGEST_PAUSE_S = 60.0
# What a server says when the same request may work later (RFC 9110 and RFC 6585).
TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The base classes that HTTP clients give to failures of the connection.
TRANSIENT_NAMES = frozenset(
    {"TransportError", "APIConnectionError", "ConnectionError", "Timeout", "TimeoutError", "TimeoutException"}
)


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient calls are: tries in all, seconds for each (what is sent keeps to them), the first pause."""

    attempts: int = 6
    timeout_s: float = 120.0
    pause_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Value]):
    """What came of a call: a value, or the error of the last try."""

    value: _Value | None
    error: RagqaError | None
    attempts: int


class SharedPause:
    """Holds back the calls of one model until a time that any of them can put off."""

    def __init__(self) -> None:
        self._open_at = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        while True:
            with self._lock:
                left = self._open_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(left)

    def begin(self, seconds: float) -> None:
        with self._lock:
            self._open_at = max(self._open_at, time.monotonic() + seconds)


def call(action: Callable[[], _Value], retries: Retries, shared: SharedPause) -> Outcome[_Value]:
    """Return what came of `action`, tried again while what it raises is transient."""
    import tenacity

    attempts = 0

    def attempt() -> _Value:
        nonlocal attempts
        shared.wait()
        attempts += 1
        return action()

    doubling = tenacity.wait_exponential_jitter(
        initial=retries.pause_s, max=LONGEST_PAUSE_S, jitter=retries.pause_s
    )

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = _retry_after(error) if error else None
        seconds = float(doubling(state)) if asked is None else min(asked, LONGEST_PAUSE_S)
        shared.begin(seconds)
        return seconds

    trying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(retries.attempts),
        wait=pause,
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        return Outcome(trying(attempt), None, attempts)
    except RagqaError as error:
        return Outcome(None, error, attempts)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may work a little later."""
    for cause in _chain(error):
        status = _status(cause)
        if status is not None:
            return status in TRANSIENT_STATUS
        if {kind.__name__ for kind in type(cause).__mro__} & TRANSIENT_NAMES:
            return True
    return False


class Workers:
    """Threads that do what they are handed; `submit` waits while all are busy.

    They are daemons: a call that hangs does not keep the process from ending.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._count = count
        self._failures: SimpleQueue[BaseException] = SimpleQueue()

    def submit(self, work: Callable[[], object]) -> None:
        """Do `work` in a thread; raises what an earlier one raised."""
        self._free.acquire()
        try:
            self._raise()
        except BaseException:
            self._free.release()
            raise

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.put(error)
            finally:
                self._free.release()

        threading.Thread(target=run, daemon=True).start()

    def join(self) -> None:
        """Wait until all is done; raises what one of them raised."""
        for _ in range(self._count):
            self._free.acquire()
        for _ in range(self._count):
            self._free.release()
        self._raise()

    def _raise(self) -> None:
        if not self._failures.empty():
            raise self._failures.get()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asked to wait (Retry-After, RFC 9110), if it said a number."""
    for cause in _chain(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is not None:
            with suppress(TypeError, ValueError):
                return max(0.0, float(headers.get("retry-after")))
    return None
