from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from llm.cli import cli

from ragqa.answer.prompts import fill_prompt, load_prompt, render_prompt, shipped_prompts
from ragqa.errors import UsageError

JUDGING = {name: path for name, path in shipped_prompts().items() if name.startswith("judge-")}
OTHERS = {*JUDGING, "rewrite", "write-question"}
ANSWERING = {name: path for name, path in shipped_prompts().items() if name not in OTHERS}


@pytest.mark.parametrize("name", list(ANSWERING))
def test_every_shipped_prompt_is_filled(name: str) -> None:
    prompt = render_prompt(load_prompt(name), "why $5?", "[1] Title\ncosts $5")
    assert "why $5?" in prompt.text
    assert "costs $5" in prompt.text


@pytest.mark.parametrize("path", list(ANSWERING.values()))
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


@pytest.mark.parametrize("path", list(JUDGING.values()), ids=list(JUDGING))
def test_llm_itself_runs_the_shipped_rubrics(path: Path, fake_models: object) -> None:
    arguments = ["-t", str(path), "-m", "fake", "--no-stream"]
    for name in ("question", "golden", "answer", "answer_a", "answer_b"):
        arguments += ["-p", name, f"the {name}"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    sent = fake_models.answering.prompts[-1]  # type: ignore[attr-defined]
    assert "the golden" in sent.prompt


@pytest.mark.parametrize("name", list(JUDGING))
def test_a_rubric_does_not_answer_questions(name: str) -> None:
    with pytest.raises(UsageError, match=f"The prompt {name} must use \\$context and \\$input"):
        load_prompt(name)


def test_a_prompt_takes_the_variables_that_are_asked_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("prompt: $golden or $answer ($mood)\ndefaults: {mood: good}")
    template = load_prompt(str(path), frozenset({"golden", "answer"}))
    assert fill_prompt(template, {"golden": "$answer", "answer": "5"}).text == "$answer or 5 (good)"
    with pytest.raises(UsageError, match="must use \\$question"):
        load_prompt(str(path), frozenset({"golden", "answer", "question"}))
    with pytest.raises(UsageError, match="uses \\$golden, which nothing fills"):
        load_prompt(str(path), frozenset({"answer"}))


def test_an_unknown_prompt_comes_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Known: concise"):
        load_prompt("sonnet")


def test_what_comes_before_the_context_is_the_same_for_every_question() -> None:
    """So that a runtime which keeps the state of a prompt's beginning reads the instructions once."""
    template = load_prompt("concise")
    first, second = (render_prompt(template, question, "CONTEXT") for question in ("why?", "how?"))
    assert first.system == second.system
    assert first.text.partition("CONTEXT")[0] == second.text.partition("CONTEXT")[0]
    assert "why?" not in first.text.partition("CONTEXT")[0]
