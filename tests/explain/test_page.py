from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from ragqa.errors import RagqaError
from ragqa.explain.explanation import explain
from ragqa.explain.page import explanation_html, write_page
from ragqa.pipeline import Pipeline
from ragqa.safety.untrusted import for_terminal
from ragqa.types import Explanation
from tests.conftest import fill

HOSTILE = (
    'Green tea "><script>alert(1)</script> &amp; <img src=x onerror=alert(2)> {{ 7 * 7 }} </div>\n\n'
    "    green\t\x1b[31mtea\x1b[0m \u202eeert\u202c  tea\u0301 'tea' 日本語 👩‍💻 `tea`"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / 'a"b<i>.txt').write_text(HOSTILE, encoding="utf-8")
    fill(folder / "hostile.db", folder / 'a"b<i>.txt')
    pipeline = Pipeline.from_config("default", folder / "hostile.db")
    found = explain(pipeline, 'green "tea" <b>&</b> \u202e?')
    pipeline.close()
    return found


def test_text_of_others_stays_text(hostile: Explanation) -> None:
    page = explanation_html(hostile)
    soup = BeautifulSoup(page, "html.parser")
    (script,) = soup.find_all("script")
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    (policy,) = soup.find_all("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not soup.find_all(["img", "link", "iframe", "b", "a"])
    # The parser would make one of several spaces.
    (passage,) = re.findall(r'<div class="text"[^>]*>(.*?)</div>', page, re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", "", passage))
    assert text == for_terminal(hostile.hits[0].matches[-1].text)
    assert text.endswith(for_terminal(HOSTILE))
    assert not set(page) & set("\x1b\u202e\u202c")
    assert soup.find(class_="question").get_text().strip().startswith('green "tea" <b>&</b>')


def test_words_know_what_lights_them_up(hostile: Explanation) -> None:
    soup = BeautifulSoup(explanation_html(hostile), "html.parser")
    numbers = {button.get_text(): button["data-q"] for button in soup.select("header button")}
    (green, *_) = [word for word in soup.select(".text .w") if word.get_text() == "Green"]
    assert numbers["green"] in green["data-q"].split()
    assert "colbert: green 0." in green["data-said"]
    assert "also" in green["class"]
    assert set(numbers) >= {"green", "tea", "<", "&", "[3 special tokens]"}


def test_a_page_without_hits_and_one_that_cannot_be_written(hostile: Explanation, tmp_path: Path) -> None:
    nothing = Explanation("what?", "fts", 0, (), ())
    write_page(nothing, tmp_path / "page.html")
    assert "No passage matches." in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(RagqaError, match="cannot be written: No such file"):
        write_page(nothing, tmp_path / "nowhere" / "page.html")
