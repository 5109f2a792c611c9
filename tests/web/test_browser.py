"""The page in a real browser: what a person does with it, by mouse, by keys, on a phone, in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragqa.service.warm import WarmLibrary
from tests.web.conftest import QUESTION, Gated, warm
from tests.web.hostile import HOSTILE, PIECES, hostile_corpus

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

ANSWER = [
    "Use 60 grams of beans for one litre of water [1]. ",
    "Never use cold water [1]. ",
    "Use 60 grams of beans for one litre of water [2].",
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: the system's, else playwright's own."""
    with playwright.sync_playwright() as started:
        path = shutil.which("chromium") or started.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("there is no Chromium here: playwright install chromium")
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, engine: WarmLibrary, served: Callable[..., str]) -> Iterator[Open]:
    """Open the page; whatever the browser complains of fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []
    addresses: dict[int, str] = {}

    def opened(path: str = "/", engine: WarmLibrary = engine, **options: Any) -> Any:
        address = addresses.setdefault(id(engine), "") or served(engine)
        addresses[id(engine)] = address
        context = browser.new_context(base_url=address, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda sent: None if sent.url.startswith(address) else complaints.append(sent.url),
        )
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def ask(page: Any, question: str, model: str = "fake") -> None:
    page.select_option("[name=model]", model)
    page.fill("#question", question)
    page.click("button.main")


def test_an_answer_streams_in_with_its_marks(visit: Open, gated: Gated) -> None:
    page = visit()
    ask(page, QUESTION, "gated-one")
    page.wait_for_selector(".found li", state="attached")
    gated.one.let.release()
    page.wait_for_selector(".draft:text('Use 60 grams of beans')")
    assert page.inner_text(".said") == ""
    assert page.get_attribute(".column", "aria-busy") == "true"
    assert page.is_visible("#stop")
    gated.one.let.release(2)
    page.wait_for_selector(".sentence.supported >> text=✓")
    page.wait_for_selector(".sources li")
    assert page.inner_text(".answer").startswith("Use 60 grams of beans for one litre of water [1]. ✓")
    assert page.inner_text(".draft") == ""
    assert page.get_attribute(".column", "aria-busy") == "false"
    assert not page.is_visible("#stop")


def test_what_a_screen_reader_hears_is_sentences_with_their_verdicts(
    visit: Open, fake_models: SimpleNamespace
) -> None:
    fake_models.answering.answer = ANSWER
    page = visit()
    ask(page, QUESTION)
    page.wait_for_selector(".sources li")
    assert page.get_attribute(".said", "aria-live") == "polite"
    assert page.get_attribute(".draft", "aria-hidden") == "true"
    seen = page.locator("body").aria_snapshot()
    for part in ("banner", "main", "navigation", "search", 'textbox "Question"', "(supported)"):
        assert part in seen
    assert "Citation 1: Making coffee" in seen
    assert "(unsupported)" in seen
    assert "(wrong citation, rather:" in seen


def test_a_citation_opens_its_passage_shaded_beside_the_answer(
    visit: Open, fake_models: SimpleNamespace
) -> None:
    page = visit(viewport={"width": 1280, "height": 900})
    ask(page, QUESTION)
    page.click(".answer .cite")
    page.wait_for_selector("#panel .text .l4")
    assert "60 grams" in page.inner_text("#panel .text")
    panel, column = page.locator("#panel").bounding_box(), page.locator(".column").bounding_box()
    assert panel["x"] >= column["x"] + column["width"]
    word = page.locator("#panel .text .l4").first
    word.hover()
    assert "←" in page.inner_text("#said")
    page.hover("h2.passage, .column h2")
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")


def test_two_answers_stream_side_by_side(visit: Open, gated: Gated) -> None:
    page = visit(viewport={"width": 1280, "height": 900})
    assert page.is_hidden("[name=config2]")
    page.check("[name=compare]")
    page.select_option("[name=model2]", "gated-other")
    ask(page, QUESTION, "gated-one")
    gated.other.let.release()
    page.wait_for_selector(".column:nth-child(2) .draft:text('Use 60 grams')")
    assert page.inner_text(".column:nth-child(1) .draft") == ""
    gated.one.let.release(3)
    page.wait_for_selector(".column:nth-child(1) .sources li")
    gated.other.let.release(2)
    page.wait_for_selector(".column:nth-child(2) .sources li")
    who = page.locator(".who").all_inner_texts()
    assert who == ["default · gated-one", "fts · gated-other"]
    left, right = (column.bounding_box() for column in page.locator(".column").all())
    assert right["x"] >= left["x"] + left["width"]


def test_stop_and_a_new_question_end_the_old_answer(visit: Open, gated: Gated) -> None:
    page = visit()
    ask(page, QUESTION, "gated-one")
    gated.one.let.release()
    page.wait_for_selector(".draft:text('Use 60 grams')")
    page.click("#stop")
    page.wait_for_selector(".state:text('Stopped.')")
    page.wait_for_timeout(300)
    gated.one.let.release()
    assert gated.one.closed.wait(10)
    assert len(gated.one.said) == 2


def test_a_model_that_fails_midway_leaves_what_there_is(visit: Open, fake_models: SimpleNamespace) -> None:
    page = visit()
    ask(page, QUESTION, "failing")
    page.wait_for_selector("text=The model failing failed: the server hung up")
    assert page.inner_text(".answer") == "Use"
    page.click(".found summary")
    page.click(".found a >> nth=0")
    page.wait_for_selector("#panel .text")


def test_a_refusal_shows_what_came_closest(visit: Open, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["The documents do not answer this."]
    page = visit()
    ask(page, QUESTION)
    page.wait_for_selector("h3:text('Closest documents')")
    assert "Making coffee" in page.inner_text(".after")


def test_nothing_that_documents_or_models_say_runs(
    visit: Open, tmp_path: Path, fake_models: SimpleNamespace
) -> None:
    fake_models.answering.answer = [f"{HOSTILE} is green tea [1]."]
    with closing(WarmLibrary(hostile_corpus(tmp_path), ["default"])) as engine:
        warm(engine)
        page = visit(engine=engine)
        ask(page, f"green tea {HOSTILE}")
        page.wait_for_selector(".sources li")
        page.click(".found summary")
        page.click(".answer .cite")
        page.wait_for_selector("#panel .text")
        texts = [page.inner_text(".answer"), page.inner_text("#panel .text")]
        page.goto("/corpus")
        page.click(".documents a >> nth=0")
        texts.append(page.inner_text("main"))
        for text in texts:
            assert all(piece in text for piece in PIECES)
            assert "{{ 7 * 7 }}" in text
        page.wait_for_timeout(200)
        assert page.evaluate("window.hit") is None


def test_a_phone_needs_no_scrolling_aside(visit: Open, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = [*ANSWER, f"{'long' * 60}/{'path' * 40} [1]."]
    page = visit(viewport=PHONE)

    def fits() -> bool:
        width: int = page.evaluate("document.documentElement.scrollWidth")
        return width == PHONE["width"]

    assert fits()
    page.check("[name=compare]")
    ask(page, QUESTION)
    page.wait_for_selector(".column:nth-child(2) .after h3")
    page.wait_for_selector(".column:nth-child(1) .after h3")
    assert fits()
    page.click(".answer .cite >> nth=0")
    page.wait_for_selector("#panel .text .l4")
    assert fits()
    # Below the answer, and brought into view.
    assert -1 < page.locator("#panel").bounding_box()["y"] < PHONE["height"]
    for path in ("/corpus", "/document?id=coffee.md", "/runs", "/login"):
        page.goto(path)
        assert fits()


def test_all_of_it_by_keys(visit: Open, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ANSWER
    page = visit()
    page.select_option("[name=model]", "fake")
    page.locator("body").evaluate("element => document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    assert page.input_value("#question") == QUESTION
    page.keyboard.press("Enter")
    page.wait_for_selector(".sources li")

    def focused() -> Any:
        return page.evaluate("document.activeElement.className")

    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(focused())
        if reached[-1] == "cite":
            break
    assert reached[-1] == "cite", reached
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel .text .w")
    assert focused() == "panel"
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")
    assert focused() == "cite"
    # The slash is a letter where one writes.
    page.keyboard.press("/")
    page.keyboard.type("and/or")
    assert page.input_value("#question") == "and/or"


def test_the_dark_is_dark_and_can_be_read(visit: Open) -> None:
    def light(page: Any, what: str) -> float:
        colour = page.evaluate(f"getComputedStyle(document.body).{what}")
        red, green, blue = (int(part) for part in colour.strip("rgb()").split(",")[:3])
        return (red + green + blue) / 3 / 255

    dark = visit(color_scheme="dark")
    assert light(dark, "backgroundColor") < 0.2
    assert light(dark, "color") > 0.8
    bright = visit(color_scheme="light")
    assert light(bright, "backgroundColor") > 0.95
    assert light(bright, "color") < 0.2


def test_without_scripts_one_can_ask_and_compare(visit: Open, fake_models: SimpleNamespace) -> None:
    page = visit(java_script_enabled=False)
    page.check("[name=compare]")
    page.select_option("[name=model2]", "fake")
    ask(page, QUESTION)
    assert page.locator(".column").count() == 2
    assert page.locator(".answer").first.inner_text().startswith("Use 60 grams of beans [1].")
    page.click(".answer .cite >> nth=0")
    assert page.locator(".text .w").count() > 5


def test_a_page_that_came_too_early_says_when_it_is_ready(
    visit: Open, db: Path, fake_models: SimpleNamespace
) -> None:
    with closing(WarmLibrary(db, ["default"])) as engine:
        page = visit(engine=engine)
        assert page.inner_text("#ready") == "Loading models …"
        ask(page, QUESTION)
        page.wait_for_selector(".state:text('The models are still loading')")
        warm(engine)
        page.wait_for_selector(".sources li")
        page.wait_for_selector("#ready:text('Ready')")
