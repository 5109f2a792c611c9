"""Models that hang: what is said of them, what is let go, and who may be asked meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import llm
import pytest

from ragqa.answer import generate as module
from ragqa.answer.events import drain
from ragqa.answer.generate import generate, say
from ragqa.answer.limits import OvertimeError, Puller, TimeLimits, is_left_behind
from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError
from ragqa.evaluate.calls import is_transient

PROMPT = Prompt(None, "How warm is green tea?")
# For a model that hangs: it is late however slow the machine is. Whoever is to answer has PATIENT.
QUICK = TimeLimits(silence_s=0.2, total_s=0.6)
PATIENT = TimeLimits()


class Scripted(llm.Model):
    """Says texts, waits for numbers of seconds or for an event to be set, and calls what can be called."""

    model_id = "scripted"
    can_stream = True

    def __init__(self, *script: str | float | threading.Event | Callable[[], object]) -> None:
        self.script = script
        self.closed = threading.Event()
        self.thread = ""

    def execute(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        self.thread = threading.current_thread().name
        try:
            for part in self.script:
                if isinstance(part, str):
                    yield part
                elif isinstance(part, threading.Event):
                    part.wait(30)
                elif callable(part):
                    part()
                else:
                    time.sleep(part)
        finally:
            self.closed.set()


def ask(
    model: llm.Model, on_text: Callable[[str], None] = lambda text: None, limits: TimeLimits = PATIENT
) -> str:
    pieces = generate(model, PROMPT, {}, log=False, limits=limits, note=lambda text: None)
    return drain(pieces, on_text).text


class Clock:
    """The time as limits see it: it passes only when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("ragqa.answer.limits.time", made)
    return made


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a model that hangs waits for; the test over, it comes."""
    event = threading.Event()
    yield event
    event.set()
    for _ in range(300):
        if not is_left_behind():
            break
        time.sleep(0.01)
    module._left_behind.clear()


def test_a_model_that_says_nothing_fails_with_a_sentence(never: threading.Event) -> None:
    with pytest.raises(RagqaError, match=r"^The model scripted said nothing for 0.2 seconds.$") as failed:
        ask(Scripted(never), limits=QUICK)
    assert is_transient(failed.value)


def test_a_model_that_falls_silent_loses_nothing_it_said(never: threading.Event, clock: Clock) -> None:
    said: list[str] = []
    with pytest.raises(RagqaError, match="^The model scripted fell silent: nothing came for 0.2 seconds.$"):
        ask(Scripted("70 ", "degrees", lambda: clock.pass_by(0.3), never), said.append, QUICK)
    assert said == ["70 ", "degrees"]


def test_an_endless_answer_ends() -> None:
    model = Scripted(*["word ", 0.1] * 100)
    with pytest.raises(RagqaError, match="^The model scripted was not done after 0.6 seconds.$"):
        ask(model, limits=TimeLimits(silence_s=30, total_s=0.6))
    assert model.closed.wait(5)


def test_a_model_that_does_not_stream_has_the_whole_time_for_its_one_piece() -> None:
    model = Scripted(0.4, "70 degrees")
    model.can_stream = False
    assert ask(model, limits=TimeLimits(silence_s=0.2, total_s=30)) == "70 degrees"


def test_the_time_of_whoever_reads_is_not_the_models(clock: Clock) -> None:
    assert ask(Scripted("70 ", "degrees"), lambda text: clock.pass_by(0.5), QUICK) == "70 degrees"


def test_a_model_that_nobody_listens_to_any_more_is_let_go() -> None:
    model = Scripted(*["word "] * 1000)

    def leave(text: str) -> None:
        raise KeyError("the reader's own")

    with pytest.raises(KeyError, match="the reader's own"):
        ask(model, leave)
    assert model.closed.wait(5)


def test_a_model_in_the_process_is_not_asked_while_it_hangs(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STILL_BUSY_S", 0.1)
    monkeypatch.setattr(module, "_is_in_process", lambda model: True)
    with pytest.raises(RagqaError, match="said nothing"):
        ask(Scripted(never), limits=QUICK)
    # A server copies its models; what is loaded is in all of them.
    with pytest.raises(RagqaError, match="^The model scripted is still busy with an earlier question.$"):
        ask(Scripted("70 degrees"))
    # It is waited for as long as it takes to be done.
    monkeypatch.setattr(module, "STILL_BUSY_S", 30)
    never.set()
    assert ask(Scripted("70 degrees")) == "70 degrees"


def test_a_model_behind_a_network_is_asked_while_another_call_hangs(never: threading.Event) -> None:
    model = Scripted(never)
    model.needs_key, model.key = "some", "a-key-of-somebody"
    with pytest.raises(RagqaError, match="said nothing"):
        ask(model, limits=QUICK)
    model.script = ("70 degrees",)
    assert ask(model) == "70 degrees"


def test_what_a_plugin_raises_in_its_thread_is_the_cause() -> None:
    class Failing(Scripted):
        def execute(self, *args: Any, **kwargs: Any) -> Iterator[str]:
            yield "70 "
            raise LookupError("no weights")

    with pytest.raises(RagqaError, match="^The model scripted failed: no weights$") as failed:
        ask(Failing())
    assert isinstance(failed.value.__cause__, LookupError)


def test_ctrl_c_while_a_model_hangs_is_no_failure_of_it(never: threading.Event) -> None:
    import _thread

    with pytest.raises(KeyboardInterrupt):
        say(Scripted(_thread.interrupt_main, never), PROMPT, {})


def test_extractive_needs_no_thread() -> None:
    from ragqa.answer.extractive import Extractive, NumberedText
    from tests.answer.test_quoting import text_of

    model = Extractive()
    model.read = [NumberedText(1, text_of("Green tea is steeped at 70 degrees.", 1.0))]
    before = threading.active_count()
    pieces = generate(model, PROMPT, {}, log=False, note=lambda text: None)
    next(pieces)
    assert threading.active_count() == before


def test_pieces_are_made_only_when_they_are_asked_for() -> None:
    made: list[int] = []

    def pieces() -> Iterator[str]:
        for number in range(3):
            made.append(number)
            yield str(number)

    puller = Puller(pieces, TimeLimits())
    assert puller.next() == "0"
    assert made == [0]
    assert [puller.next(), puller.next(), puller.next()] == ["1", "2", None]
    assert puller.stop()


def test_the_limit_in_all_counts_every_wait(never: threading.Event, clock: Clock) -> None:
    # Each of the two waits is shorter than both limits; together they are longer than the one in all.
    def wait() -> None:
        clock.pass_by(0.15)

    puller = Puller(lambda: Scripted("a", wait, "b", wait, never).execute(), TimeLimits(0.2, 0.25))
    assert puller.next() == "a"
    assert puller.next() == "b"
    with pytest.raises(OvertimeError) as passed:
        puller.next()
    assert (passed.value.total, passed.value.seconds) == (True, 0.25)
