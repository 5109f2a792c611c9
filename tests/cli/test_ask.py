"""What `ragqa ask` shows of answers that fake models give: marks, remarks, refusals, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ragqa.cli.app import app
from ragqa.cli.show_answer import reference
from ragqa.types import Passage

QUESTION = "How many grams of beans for one litre of water?"
RIGHT = "Use 60 grams of beans for one litre of water"


def ask(db: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["ask", QUESTION, "--db", str(db), "-m", "fake", *options])


@pytest.mark.parametrize(
    ("source", "where"),
    [("https://a.example/b", "https://a.example/b"), ("HTTP://a", "HTTP://a"), ("http-notes/a.md", "a.md")],
)
def test_a_reference_is_an_address_only_on_the_web(source: str, where: str) -> None:
    passage = Passage(1, "a.md", 0, 0, 1, "", (), "x", source, {})
    assert reference(passage) == f"a.md ({where})"
    assert reference(passage, ", cited") == f"a.md ({where}, cited)"


def test_marks_stand_beside_sentences(db: Path, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = [f"{RIGHT} [1]. Use 75 grams [1]. ", f"{RIGHT} [2]. {RIGHT} [99]."]
    printed = ask(db).stdout
    answer, _, rest = printed.partition("\n")
    assert answer == (f"{RIGHT} [1]. ✓ Use 75 grams [1]. ✗ unsupported {RIGHT} [2]. ✗ rather [1] {RIGHT}. ✓")
    assert "Removed: [99], which no passage stands for." in rest
    assert "1 of 4 sentences has no support in the passages." in rest
    assert "1 of 4 sentences cites another passage than the one that supports it." in rest


@pytest.mark.parametrize(
    ("answer", "code"),
    [(f"{RIGHT} [1].", 0), ("Use 75 grams [1].", 3), (f"{RIGHT} [2].", 3), (f"{RIGHT} [9].", 3)],
)
def test_strict_says_by_its_exit_code_whether_citations_hold(
    db: Path, fake_models: SimpleNamespace, answer: str, code: int
) -> None:
    fake_models.answering.answer = [answer]
    asked = ask(db, "--strict")
    assert asked.exit_code == code
    assert ("Not every sentence is supported" in asked.stderr) is (code == 3)
    assert ask(db).exit_code == 0


def test_strict_checks_also_where_the_config_does_not(
    db: Path, fake_models: SimpleNamespace, tmp_path: Path
) -> None:
    config = tmp_path / "unchecked.yaml"
    config.write_text("retrieve: {type: fts}\ncheck: false")
    fake_models.answering.answer = ["Use 75 grams [1]."]
    assert ask(db, "-c", str(config)).stdout.startswith("Use 75 grams [1].\n")
    assert ask(db, "-c", str(config), "--strict").exit_code == 3


def test_json_has_every_sentence_with_its_support(db: Path, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = [f"{RIGHT} [1]. Use 75 grams [1][9]."]
    form = json.loads(ask(db, "--json").stdout)
    assert form["answer"] == f"{RIGHT} [1]. Use 75 grams [1]."
    assert form["removed_citations"] == [9]
    assert [sentence["verdict"] for sentence in form["sentences"]] == ["supported", "unsupported"]
    for sentence in form["sentences"]:
        assert form["answer"][sentence["start"] : sentence["end"]] == sentence["text"]
        assert sentence["cited"] == [1]
    assert form["citations"][0]["support"] == form["sentences"][0]["support"] > 0.5
    assert form["refused"] is False


def test_a_refusal_names_what_came_closest(db: Path, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["The documents do not answer this."]
    asked = ask(db, "--strict")
    assert asked.exit_code == 0
    assert asked.stdout.startswith(
        "The documents do not answer this.\n\nClosest\n- Making coffee (coffee.md:5)\n"
    )
    form = json.loads(ask(db, "--json").stdout)
    assert (form["refused"], form["refused_by"], form["citations"]) == (True, "model", [])


def test_a_question_that_looks_unanswerable_is_refused_before_the_model_is_asked(
    db: Path, fake_models: SimpleNamespace, tmp_path: Path
) -> None:
    config = tmp_path / "careful.yaml"
    config.write_text("retrieve: {type: fts}\nrefuse: strict")
    arguments = ["--db", str(db), "-m", "fake", "-c", str(config), "--json"]
    answered = CliRunner().invoke(app, ["ask", QUESTION, *arguments])
    assert json.loads(answered.stdout)["refused"] is False
    asked = len(fake_models.answering.prompts)
    refused = CliRunner().invoke(app, ["ask", "Who was the first king of the water planet?", *arguments])
    form = json.loads(refused.stdout)
    assert (form["refused"], form["refused_by"]) == (True, "scores")
    assert form["answer"] == "The documents do not answer this."
    assert len(fake_models.answering.prompts) == asked


def test_refusing_is_on_by_default_and_can_be_turned_off(db: Path, fake_models: SimpleNamespace) -> None:
    def refused(*options: str) -> bool:
        arguments = ["--db", str(db), "-m", "fake", "--json", *options]
        told = CliRunner().invoke(
            app, ["ask", "Which constitutional amendment of whom is it by?", *arguments]
        )
        assert told.exit_code == 0, told.output
        return bool(json.loads(told.stdout)["refused"])

    assert refused()
    assert refused("--refuse", "strict")
    assert not refused("--refuse", "never")
    bad = CliRunner().invoke(app, ["ask", "x", "--refuse", "often"])
    assert bad.exit_code == 2


def test_nothing_found_is_a_refusal_without_anything_close(db: Path, fake_models: SimpleNamespace) -> None:
    asked = CliRunner().invoke(app, ["ask", "xylophone", "-c", "fts", "--db", str(db), "-m", "fake"])
    assert asked.exit_code == 0
    assert asked.stdout == "The documents do not answer this.\n\nNo passage has anything to do with it.\n"


@pytest.mark.parametrize("style", ["concise", "detailed", "quote-only"])
def test_a_style_of_answer_is_chosen_by_name(db: Path, fake_models: SimpleNamespace, style: str) -> None:
    assert ask(db, "--prompt", style).exit_code == 0
    sent = fake_models.answering.prompts[-1]
    assert ("word for word" in sent.system) is (style == "quote-only")
    assert ("in lists and code blocks" in sent.system) is (style == "detailed")


@pytest.mark.parametrize("prompt", ["rewrite", "mine.yaml", "sonnet", "none/at/all"])
def test_a_prompt_that_cannot_answer_fails_before_anything_is_searched(
    db: Path, fake_models: SimpleNamespace, prompt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("prompt: Answer $input")
    monkeypatch.setattr("ragqa.pipeline.Pipeline.search", lambda *args: pytest.fail("searched"))
    asked = ask(db, "--prompt", prompt)
    assert asked.exception is not None
    assert getattr(asked.exception, "exit_code", None) == 2, asked.exception
