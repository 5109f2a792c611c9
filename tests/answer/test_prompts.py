from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from llm.cli import cli

from ragqa.answer.prompts import load_prompt, render_prompt, shipped_prompts
from ragqa.errors import UsageError


@pytest.mark.parametrize("name", list(shipped_prompts()))
def test_every_shipped_prompt_is_filled(name: str) -> None:
    prompt = render_prompt(load_prompt(name), "why $5?", "[1] Title\ncosts $5")
    assert "why $5?" in prompt.text
    assert "costs $5" in prompt.text


@pytest.mark.parametrize("path", list(shipped_prompts().values()))
def test_llm_itself_runs_the_shipped_prompts(path: Path, fake_models: object) -> None:
    arguments = ["-t", str(path), "-p", "context", "[1] T\nwords", "why?", "-m", "fake", "--no-stream"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    sent = fake_models.answering.prompts[-1]  # type: ignore[attr-defined]
    assert "[1] T\nwords" in sent.prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt: $input", "must use \\$context"),
        ("prompt: $input $context $mood", "uses \\$mood, which nothing fills"),
        ("prompts: x", "cannot be read as an llm template"),
        ("[", "cannot be read as an llm template"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused_before_anything_runs(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_prompt(str(path))


def test_an_unknown_prompt_comes_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Known: answer"):
        load_prompt("sonnet")


def test_what_comes_before_the_context_is_the_same_for_every_question() -> None:
    """So that a runtime which keeps the state of a prompt's beginning reads the instructions once."""
    template = load_prompt("answer")
    first, second = (render_prompt(template, question, "CONTEXT") for question in ("why?", "how?"))
    assert first.system == second.system
    assert first.text.partition("CONTEXT")[0] == second.text.partition("CONTEXT")[0]
    assert "why?" not in first.text.partition("CONTEXT")[0]
