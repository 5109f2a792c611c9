"""What a plugin does that no model should: it ends with the program, says what is no text, hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import llm
import pytest

from ragqa.answer import generate as module
from ragqa.answer.events import drain
from ragqa.answer.generate import generate
from ragqa.answer.limits import TimeLimits
from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError


class Odd(llm.Model):
    model_id = "odd"
    can_stream = True

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def execute(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for part in self.parts:
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, threading.Event):
                part.wait(30)
            else:
                yield part


def ask(model: llm.Model) -> str:
    pieces = generate(
        model, Prompt(None, "q"), {}, log=False, limits=TimeLimits(0.2, 5), note=lambda text: None
    )
    return drain(pieces).text


@pytest.mark.parametrize(("said", "end"), [("no weights", ": no weights"), ("", "")])
def test_a_plugin_that_ends_the_program_fails_like_any_other(said: str, end: str) -> None:
    with pytest.raises(RagqaError, match=f"^The model odd failed: it wanted to end the program{end}$"):
        ask(Odd("70 ", SystemExit(said)))


def test_what_a_plugin_says_in_bytes_is_no_answer() -> None:
    with pytest.raises(RagqaError, match="^The model odd failed: .*bytes"):
        ask(Odd(b"70 degrees"))


def test_of_a_model_that_is_left_behind_its_name_alone_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_in_process", lambda model: True)
    monkeypatch.setattr(module, "_left_behind", [])
    never = threading.Event()
    with pytest.raises(RagqaError, match="said nothing"):
        ask(Odd(never))
    ((name, thread),) = module._left_behind
    assert name == "odd"
    never.set()
    thread.join(5)
    assert ask(Odd("70 degrees")) == "70 degrees"
    assert module._left_behind == []
