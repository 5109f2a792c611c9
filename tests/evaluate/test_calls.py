from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import llm
import pytest

from ragqa.answer.events import drain
from ragqa.answer.generate import Generation, generate
from ragqa.answer.limits import TimeLimits
from ragqa.answer.models import is_remote
from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError
from ragqa.evaluate import calls
from ragqa.evaluate.calls import Retries, SharedPause, Workers, call, is_transient

from ..conftest import FakeModel, KeyedModel

QUICK = Retries(attempts=3, timeout_s=5.0, pause_s=0.01)


class StatusError(Exception):
    """As clients of servers raise them: the status on the error, or on its response."""

    def __init__(
        self, status: int, headers: dict[str, str] | None = None, *, on_response: bool = False
    ) -> None:
        super().__init__(f"status {status}")
        if not on_response:
            self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class APIConnectionError(Exception):
    pass


class APITimeoutError(APIConnectionError):
    pass


def failure(cause: BaseException) -> RagqaError:
    """Return the error that `generate` makes of what a model's plugin raised."""
    error = RagqaError(f"The model failed: {cause}")
    error.__cause__ = cause
    return error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (StatusError(429), True),
        (StatusError(500), True),
        (StatusError(503, on_response=True), True),
        (StatusError(400), False),
        (StatusError(401, on_response=True), False),
        (TimeoutError(), True),
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (APITimeoutError(), True),
        (ValueError("bad"), False),
        (caused(ValueError("wrapped"), ConnectionError()), True),
        (caused(StatusError(400), ConnectionError()), False),
    ],
    ids=repr,
)
def test_what_may_work_later_is_told_from_what_may_not(error: BaseException, transient: bool) -> None:
    assert is_transient(error) is transient
    assert is_transient(failure(error)) is transient


class Action:
    """Raises these errors one after the other, and then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times: list[float] = []

    def __call__(self) -> str:
        self.times.append(time.monotonic())
        if self.errors:
            raise failure(self.errors.pop(0))
        return "said"


def test_a_call_is_tried_again_until_it_works() -> None:
    outcome = call(Action(StatusError(429), ConnectionError()), QUICK, SharedPause())
    assert (outcome.value, outcome.error, outcome.attempts) == ("said", None, 3)


def test_a_call_that_cannot_work_is_tried_once() -> None:
    action = Action(StatusError(400))
    outcome = call(action, QUICK, SharedPause())
    assert (outcome.value, str(outcome.error), outcome.attempts) == (None, "The model failed: status 400", 1)
    assert len(action.times) == 1


def test_a_call_is_given_up_after_so_many_tries() -> None:
    action = Action(*[StatusError(500)] * 5)
    outcome = call(action, QUICK, SharedPause())
    assert (str(outcome.error), outcome.attempts, len(action.times)) == ("The model failed: status 500", 3, 3)


def test_an_error_that_is_no_failure_of_the_model_is_raised() -> None:
    def broken() -> None:
        raise KeyError("a mistake in the code")

    with pytest.raises(KeyError):
        call(broken, QUICK, SharedPause())


@pytest.mark.parametrize(
    ("asked", "expected"), [("0.3", 0.3), ("0", 0.0), ("100000", calls.LONGEST_PAUSE_S), ("-5", 0.0)]
)
def test_a_pause_is_as_long_as_the_server_asks_within_reason(
    monkeypatch: pytest.MonkeyPatch, asked: str, expected: float
) -> None:
    closed: list[float] = []
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pause = SharedPause()
    monkeypatch.setattr(pause, "begin", closed.append)
    outcome = call(Action(StatusError(429, {"retry-after": asked})), QUICK, pause)
    assert outcome.value == "said"
    assert closed == slept == [expected]


@pytest.mark.parametrize("asked", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", ""])
def test_without_a_number_of_seconds_the_pauses_double(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pause = SharedPause()
    monkeypatch.setattr(pause, "begin", lambda seconds: None)
    call(Action(*[StatusError(429, {"retry-after": asked})] * 4), Retries(5, 5.0, 1.0), pause)
    assert len(slept) == 4
    for place, seconds in enumerate(slept):
        assert 2**place <= seconds <= 2**place + 1


def test_a_call_that_takes_too_long_is_tried_again_and_then_fails() -> None:
    release = threading.Event()
    tries = []

    class Hanging(llm.KeyModel):
        model_id = "hanging"
        can_stream = True

        def execute(self, *args: Any, **kwargs: Any) -> Iterator[str]:
            tries.append(1)
            release.wait(10)
            yield "too late"

    def send() -> Generation:
        limits = TimeLimits(0.05, 0.05)
        pieces = generate(Hanging(), Prompt(None, "why?"), {}, log=False, limits=limits, note=print)
        return drain(pieces)

    start = time.monotonic()
    outcome = call(send, Retries(2, 0.05, 0.01), SharedPause())
    assert time.monotonic() - start < 5
    release.set()
    assert (str(outcome.error), outcome.attempts) == ("The model hanging was not done after 0.05 seconds.", 2)
    assert len(tries) == 2


def test_a_closed_gate_holds_back_other_calls_of_the_same_model() -> None:
    pause = SharedPause()
    limited = Action(StatusError(429, {"retry-after": "0.4"}))
    other, elsewhere = Action(), Action()
    thread = threading.Thread(target=lambda: call(limited, QUICK, pause))
    thread.start()
    while not pause._open_at:
        time.sleep(0.005)
    call(elsewhere, QUICK, SharedPause())
    call(other, QUICK, pause)
    thread.join()
    assert other.times[0] - limited.times[0] >= 0.4
    assert elsewhere.times[0] - limited.times[0] < 0.4


def test_a_gate_is_never_opened_earlier_than_one_of_its_calls_asked() -> None:
    pause = SharedPause()
    start = time.monotonic()
    pause.begin(0.2)
    pause.begin(0.01)
    pause.wait()
    assert time.monotonic() - start >= 0.2


def within(workers: Workers, count: int, work: Callable[[], Any]) -> int:
    """Return how many of `count` times `work` went on at the same time."""
    lock = threading.Lock()
    now = most = done = 0

    def one() -> None:
        nonlocal now, most, done
        with lock:
            now += 1
            most = max(most, now)
        work()
        with lock:
            now -= 1
            done += 1

    for _ in range(count):
        workers.submit(one)
    workers.join()
    assert done == count
    return most


def test_workers_do_so_many_things_at_a_time_and_no_more() -> None:
    assert within(Workers(1), 5, lambda: time.sleep(0.01)) == 1
    meeting = threading.Barrier(3, timeout=10)
    assert within(Workers(3), 9, meeting.wait) == 3


def test_what_a_worker_raised_is_raised_by_join() -> None:
    workers = Workers(2)
    workers.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workers.join()
    workers.join()


@pytest.mark.timeout(30)
def test_what_a_worker_raised_is_raised_by_the_next_submit_and_blocks_nothing() -> None:
    workers = Workers(1)
    done: list[int] = []
    workers.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: done.append(1))
    workers.submit(lambda: done.append(2))
    workers.join()
    assert done == [2]


def test_a_model_that_takes_a_key_is_remote() -> None:
    local: llm.Model = FakeModel("fake", ["x"])
    assert not is_remote(local)
    assert is_remote(KeyedModel())
    local.needs_key = "some"
    assert is_remote(local)
