"""A cited PDF is shown at its page, and no other file is ever given out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ragqa.corpus.database import Corpus
from ragqa.service.warm import WarmLibrary
from ragqa.web.app import Settings, make_app
from tests.conftest import fill
from tests.sources.test_documents import lines, pdf
from tests.web.conftest import HERE, warm

pytestmark = pytest.mark.needs("docs")


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    pdf(folder / "lease.pdf", lines("About the mill."), lines("The lease of the mill", "ends in October."))
    (folder / "notes.md").write_text("# Notes\n\nThe weir is of oak.")
    fill(tmp_path / "c.db", folder)
    return tmp_path / "c.db"


@pytest.fixture
def visitor(papers: Path) -> Iterator[TestClient]:
    with closing(WarmLibrary(papers, ["fts"])) as library:
        warm(library)
        with TestClient(make_app(library, Settings()), base_url=HERE) as client:
            yield client


def test_a_citation_shows_its_page_with_the_passage_marked(visitor: TestClient) -> None:
    from PIL import Image

    asked = {"question": "When does the lease end?", "id": "lease.pdf#1", "number": "1"}
    shown = visitor.get("/passage", params=asked).text
    assert 'src="/page.png?id=lease.pdf%231"' in shown
    assert 'href="/pdf?id=lease.pdf%231#page=2"' in shown
    picture = visitor.get("/page.png", params={"id": "lease.pdf#1"})
    assert picture.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(picture.content)) as opened:
        colours = {pixel for _, pixel in opened.getcolors(opened.width * opened.height) or []}
    # The colour of the mark on white, and the black of letters.
    assert any(red > 240 and green > 200 and 160 < blue < 220 for red, green, blue in colours)
    whole = visitor.get("/pdf", params={"id": "lease.pdf#1"})
    assert whole.content.startswith(b"%PDF-")
    assert whole.headers["content-type"] == "application/pdf"


def test_no_other_file_is_given_out(visitor: TestClient, papers: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "fake.pdf").write_text("no PDF at all")
    for name in ("notes.md#0", "lease.pdf#9", "nowhere#0", "lease.pdf", "../lease.pdf#1", "lease.pdf#x", ""):
        assert visitor.get("/pdf", params={"id": name}).status_code == 404
        assert visitor.get("/page.png", params={"id": name}).status_code == 404
    for source in (str(secret), str(tmp_path / "fake.pdf"), "/dev/zero", "a\0b.pdf", str(tmp_path)):
        with Corpus.open(papers) as corpus, corpus.writing(), corpus.transaction():
            corpus.connection.execute("UPDATE documents SET source = ? WHERE id = 'lease.pdf'", [source])
        for path in ("/pdf", "/page.png"):
            answer = visitor.get(path, params={"id": "lease.pdf#1"})
            assert (answer.status_code, "secret" in answer.text) == (404, False)
        assert (
            "/page.png" not in visitor.get("/passage", params={"question": "lease", "id": "lease.pdf#1"}).text
        )


def test_a_page_that_cannot_be_drawn_is_said(visitor: TestClient, papers: Path) -> None:
    path = papers.parent / "papers" / "lease.pdf"
    path.write_bytes(path.read_bytes()[:200])
    answer = visitor.get("/page.png", params={"id": "lease.pdf#1"})
    assert (answer.status_code, "cannot be drawn" in answer.text) == (500, True)
