"""A page that was named, from a server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ragqa.errors import RagqaError, UsageError
from ragqa.sources import Fields, open_sources
from ragqa.types import Document
from tests.conftest import Run

PAGE = (
    b"<html><head><title>Piers</title></head><body><nav>Menu</nav><main><h1>Piers</h1>"
    b"<p>There are three.</p><a href='/other'>Other</a></main></body></html>"
)
ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ASKED.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/piers", "/notes.md") else 404)
        self.send_header(
            "Content-Type", "text/html; charset=utf-8" if self.path == "/piers" else "text/plain"
        )
        self.end_headers()
        self.wfile.write(PAGE if self.path == "/piers" else b"# Notes\n\nWords.")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ASKED.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_one_page_is_fetched_and_nothing_that_it_links_to(site: str) -> None:
    (source,) = open_sources([f"{site}/piers"], Fields())
    (document,) = source.items
    assert isinstance(document, Document)
    assert (document.id, document.source, document.title) == (f"{site}/piers", f"{site}/piers", "Piers")
    assert "There are three." in document.text
    assert "Menu" not in document.text
    assert ASKED == ["/piers"]


def test_what_cannot_be_had_is_said(site: str) -> None:
    for path, reason in (("/nowhere", "Not Found"), ("/moved", "Redirection to url .file:")):
        (source,) = open_sources([site + path], Fields())
        with pytest.raises(RagqaError, match=f"cannot be fetched: .*{reason}"):
            list(source.items)
    with pytest.raises(UsageError, match="no address"):
        open_sources(["http://"], Fields())


def test_offline_nothing_is_fetched(site: str, ragqa: Run, tmp_path: object) -> None:
    done = ragqa("ingest", f"{site}/piers", "--offline", "--db", f"{tmp_path}/c.db")
    assert (done.returncode, "--offline" in done.stderr) == (2, True)
    assert ASKED == []
    assert "1 added" in ragqa("ingest", f"{site}/notes.md", "--db", f"{tmp_path}/c.db").stdout
