"""Models that hang: what is said of them, what is let go, and who may be asked meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import llm
import pytest

from ragqa.answer import generate as module
from ragqa.answer.generate import drain, generate, say
from ragqa.answer.limits import OvertimeError, Puller, TimeLimits, is_left_behind
from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError
from ragqa.evaluate.calls import is_transient

PROMPT = Prompt(None, "How warm is green tea?")
QUICK = TimeLimits(silence_s=0.2, total_s=0.6)


class Scripted(llm.Model):
    """Says texts and waits for numbers of seconds, or for an event to be set."""

    model_id = "scripted"
    can_stream = True

    def __init__(self, *script: str | float | threading.Event) -> None:
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
                else:
                    time.sleep(part)
        finally:
            self.closed.set()


def ask(model: llm.Model, on_text: Callable[[str], None] = lambda text: None) -> str:
    pieces = generate(model, PROMPT, {}, log=False, limits=QUICK, note=lambda text: None)
    return drain(pieces, on_text).text


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
        ask(Scripted(never))
    assert is_transient(failed.value)


def test_a_model_that_falls_silent_loses_nothing_it_said(never: threading.Event) -> None:
    said: list[str] = []
    with pytest.raises(RagqaError, match="^The model scripted fell silent: nothing came for 0.2 seconds.$"):
        ask(Scripted("70 ", "degrees", never), said.append)
    assert said == ["70 ", "degrees"]


def test_an_endless_answer_ends() -> None:
    model = Scripted(*["word ", 0.1] * 100)
    with pytest.raises(RagqaError, match="^The model scripted was not done after 0.6 seconds.$"):
        ask(model)
    assert model.closed.wait(5)


def test_a_model_that_does_not_stream_has_the_whole_time_for_its_one_piece() -> None:
    model = Scripted(0.4, "70 degrees")
    model.can_stream = False
    assert ask(model) == "70 degrees"


def test_the_time_of_whoever_reads_is_not_the_models() -> None:
    assert ask(Scripted("70 ", "degrees"), lambda text: time.sleep(0.5)) == "70 degrees"


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
        ask(Scripted(never))
    # A server copies its models; what is loaded is in all of them.
    with pytest.raises(RagqaError, match="^The model scripted is still busy with an earlier question.$"):
        ask(Scripted("70 degrees"))
    never.set()
    assert ask(Scripted("70 degrees")) == "70 degrees"


def test_a_model_behind_a_network_is_asked_while_another_call_hangs(never: threading.Event) -> None:
    model = Scripted(never)
    model.needs_key, model.key = "some", "a-key-of-somebody"
    with pytest.raises(RagqaError, match="said nothing"):
        ask(model)
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

    threading.Timer(0.1, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        say(Scripted(never), PROMPT, {})


def test_extractive_needs_no_thread() -> None:
    from ragqa.answer.extractive import Candidate, Extractive

    model = Extractive()
    model.candidates = [Candidate(1, "Green tea is steeped at 70 degrees.", 1.0)]
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


def test_the_limit_in_all_counts_every_wait() -> None:
    puller = Puller(lambda: Scripted("a", 0.15, "b", 0.15, "c").execute(), TimeLimits(0.2, 0.25))
    assert puller.next() == "a"
    assert puller.next() == "b"
    with pytest.raises(OvertimeError) as passed:
        puller.next()
    assert (passed.value.total, passed.value.seconds) == (True, 0.25)
