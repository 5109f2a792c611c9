from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli as llm_cli
from sqlite_utils import Database

from ragqa import Pipeline
from ragqa.answer.conversation import ELLIPSIS, last_conversation
from ragqa.answer.events import Text
from ragqa.config import TimeoutSettings, load_config
from ragqa.errors import RagqaError, UsageError
from ragqa.service.chat import Chat
from ragqa.service.events import Searched

QUESTION = "How many grams of beans for one litre of water?"


@pytest.fixture
def chat(db: Path, fake_models: SimpleNamespace, request: pytest.FixtureRequest) -> Iterator[Chat]:
    """A chat with a fake model; logged where a test is marked by `logs`, because a new log takes a second."""
    with ExitStack() as stack:

        def opened(name: str) -> Pipeline:
            pipeline = Pipeline.from_config(load_config(name).model_copy(update={"check": False}), db)
            stack.callback(pipeline.close)
            return pipeline

        yield Chat(opened, "fts", model="fake", log=getattr(request, "param", False))


logs = pytest.mark.parametrize("chat", [True], indirect=True, ids=["logged"])


def request_text(chat: Chat, question: str, fake_models: SimpleNamespace) -> str:
    """Return what the fake model is sent when the chat is asked `question`."""
    chat.ask(question)
    return str(fake_models.answering.prompts[-1].prompt)


def logged() -> list[tuple[str, str]]:
    """Return the thread and the model of every turn in llm's log."""
    db = Database(llm.user_dir() / "logs.db")
    try:
        return [(row["thread_id"], row["model"]) for row in db["turns"].rows]
    finally:
        db.close()


@logs
def test_a_follow_up_is_searched_as_a_question_of_its_own(chat: Chat, fake_models: SimpleNamespace) -> None:
    asked: list[str] = []

    def tell(event: object) -> None:
        if isinstance(event, Searched):
            asked.append(event.question)

    chat.ask("how is coffee ground for a French press?", tell)
    fake_models.answering.answer = ["How is coffee ground for a paper filter?"]
    answer = chat.ask("and for a paper filter?", tell)
    assert asked == ["how is coffee ground for a French press?", "How is coffee ground for a paper filter?"]
    assert answer.search.question == asked[1]
    first, _, second = fake_models.answering.prompts
    assert "Earlier" not in first.prompt
    assert "> Q: how is coffee ground for a French press?\n> A: Use 60 grams of beans." in second.prompt
    assert second.prompt.rstrip().endswith(f"Question: {asked[1]}")
    # Rewriting is not logged; both answers are, in one conversation.
    assert logged() == [(chat.conversation.id, "fake")] * 2


def test_without_rewriting_a_question_is_searched_as_it_is(chat: Chat, fake_models: SimpleNamespace) -> None:
    chat.rewriting = False
    chat.ask(QUESTION)
    assert chat.ask("and water in the morning?").search.question == "and water in the morning?"
    assert len(fake_models.answering.prompts) == 2


def test_a_failed_question_is_no_part_of_the_conversation(chat: Chat, fake_models: SimpleNamespace) -> None:
    chat.ask(QUESTION)
    before = chat.conversation
    chat.use_model("failing")
    with pytest.raises(RagqaError, match="the server hung up"):
        chat.ask("and how many grams of tea?")
    assert chat.conversation == before
    with pytest.raises(UsageError, match="empty"):
        chat.ask(" ")


def test_an_interrupted_answer_is_remembered_as_far_as_it_came(
    chat: Chat, fake_models: SimpleNamespace
) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, Text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.ask(QUESTION, interrupt)
    (turn,) = chat.conversation.turns
    assert turn.question == QUESTION
    assert turn.answer.startswith("Use 60 grams")
    assert turn.answer.endswith(ELLIPSIS)
    assert "> Q: " + QUESTION in request_text(chat, "and for a litre of tea?", fake_models)


def test_a_wrong_name_changes_nothing(chat: Chat, fake_models: SimpleNamespace) -> None:
    pipeline = chat.pipeline
    for wrong in (lambda: chat.use_model("nope"), lambda: chat.use_config("nope")):
        with pytest.raises(UsageError, match="no (model|config) 'nope'"):
            wrong()
    with pytest.raises(RagqaError, match="needs a key"):
        chat.use_model("keyed")
    assert (chat.model, chat.pipeline) == ("fake", pipeline)


def test_another_config_keeps_the_model_and_the_conversation(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.use_config("dense")
    answer = chat.ask("and how much water?")
    assert (answer.search.config, answer.model) == ("dense", "fake")
    assert len(chat.conversation.turns) == 2


def test_the_last_answer_is_explained_by_the_config_that_found_it(chat: Chat) -> None:
    for early in (chat.last_answer, lambda: chat.explain(1)):
        with pytest.raises(UsageError, match="Nothing has been answered"):
            early()
    answer = chat.ask(QUESTION)
    chat.use_config("dense")
    assert chat.last_answer() is answer
    assert len(chat.explain(1).hits) == 1
    chat.forget()
    assert chat.conversation.turns == ()
    with pytest.raises(UsageError, match="Nothing has been answered"):
        chat.last_answer()


def test_a_model_that_hangs_over_the_rewriting_is_left(db: Path, fake_models: SimpleNamespace) -> None:
    config = load_config("fts").model_copy(update={"check": False, "timeout": TimeoutSettings(silence_s=0.2)})
    never, asked = threading.Event(), itertools.count()

    class HangingAtTheSecond:
        def __iter__(self) -> Iterator[str]:
            if next(asked) == 1:
                never.wait(20)
            yield "Use 60 grams."

    fake_models.answering.answer = HangingAtTheSecond()
    with Pipeline.from_config(config, db) as pipeline:
        chat = Chat(lambda name: pipeline, "fts", model="fake", log=False)
        chat.ask(QUESTION)
        start = time.monotonic()
        answer = chat.ask("and for tea?")
    assert time.monotonic() - start < 10
    assert answer.search.question.startswith("and for tea? (")
    assert answer.text == "Use 60 grams."
    never.set()


@logs
def test_llm_goes_on_with_the_conversation_and_we_go_on_with_that(
    chat: Chat, fake_models: SimpleNamespace
) -> None:
    chat.ask(QUESTION)
    went_on = CliRunner().invoke(llm_cli, ["-c", "and in ounces?", "-m", "fake"])
    assert (went_on.exit_code, went_on.output.strip()) == (0, "Use 60 grams of beans [1]. Sun helps [99].")
    assert {thread for thread, _ in logged()} == {chat.conversation.id}
    assert [turn.question for turn in last_conversation().turns] == [QUESTION, "and in ounces?"]
    chat.forget()
    chat.resume()
    assert chat.ask("and how much is that in tablespoons?").conversation_id == logged()[0][0]


def test_without_a_log_the_conversation_is_kept_all_the_same(chat: Chat, isolated_user: Path) -> None:
    chat.ask(QUESTION)
    chat.ask("and for tea?")
    assert (len(chat.conversation.turns), chat.conversation.id) == (2, None)
    assert not (isolated_user / "llm" / "logs.db").exists()
