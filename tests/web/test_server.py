"""On a real port: streams, several at once, and what happens when somebody hangs up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ragqa.errors import RagqaError
from ragqa.service.events import Stopped, Tell
from ragqa.service.library import BUSY, Asked
from ragqa.service.warm import MOST_AT_ONCE, WARMING, WarmLibrary
from ragqa.types import Answer
from ragqa.web.app import Settings
from ragqa.web.server import Serving, serve
from tests.conftest import Run
from tests.web.conftest import QUESTION, Gated, warm

Served = Callable[..., str]


class Stream:
    """The events of one answer, one at a time."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, Any]:
        name = next(line for line in self._lines if line.startswith("event: "))
        return name.removeprefix("event: "), json.loads(next(self._lines).removeprefix("data: "))

    def until(self, wanted: str) -> Any:
        while True:
            name, data = self.next()
            if name == wanted:
                return data


@contextmanager
def asking(address: str, model: str, config: str = "fts") -> Iterator[Stream]:
    body = {"question": QUESTION, "model": model, "config": config}
    with (
        httpx2.Client(timeout=20) as client,
        client.stream("POST", f"{address}/api/ask", json=body) as response,
    ):
        assert response.status_code == 200
        yield Stream(response)


def test_pieces_come_while_the_model_is_still_at_it(
    engine: WarmLibrary, served: Served, gated: Gated
) -> None:
    with asking(served(engine), "gated-one") as stream:
        assert stream.next()[0] == "search"
        assert gated.one.said == []
        gated.one.let.release()
        assert stream.next() == ("text", {"text": "Use 60 grams of beans"})
        gated.one.let.release()
        assert stream.until("text") == {"text": " for one litre of water [1]."}
        gated.one.let.release()
        assert stream.until("sentence")["check"]["verdict"] == "supported"
        assert stream.until("done")["answer"].endswith("Never more.")


def test_two_answers_stream_side_by_side(engine: WarmLibrary, served: Served, gated: Gated) -> None:
    address = served(engine)
    with asking(address, "gated-one") as one, asking(address, "gated-other", "default") as other:
        one.until("search"), other.until("search")
        for model, stream in ((gated.other, other), (gated.one, one), (gated.other, other)):
            model.let.release()
            assert stream.next()[0] == "text"
        # A third question is answered while two are being written.
        found = httpx2.post(f"{address}/api/search", json={"question": QUESTION}, timeout=20)
        assert found.json()["hits"][0]["document_id"] == "coffee.md"
        for model, stream in ((gated.one, one), (gated.other, other)):
            model.let.release(3)
            assert stream.until("done")["answer"].startswith("Use 60 grams")


def test_a_model_in_the_process_serves_one_question_at_a_time(
    engine: WarmLibrary, served: Served, gated: Gated
) -> None:
    address = served(engine)
    with asking(address, "gated-one") as first:
        gated.one.let.release()
        first.until("text")
        with asking(address, "gated-one") as second:
            assert second.until("note") == {"note": BUSY}
            gated.one.let.release(5)
            assert first.until("done")["answer"].endswith("Never more.")
            assert second.until("done")["answer"].endswith("Never more.")
    assert gated.one.most_inside == 1


def test_every_question_to_extractive_has_its_own_sentences(engine: WarmLibrary, served: Served) -> None:
    address = served(engine)
    asked = {
        "How many grams of beans for one litre of water?": "60 grams",
        "How hot is green tea steeped?": "70 degrees",
        "How is a flat tyre mended?": "rubber cement",
        "How many hours of sun do tomatoes need?": "six hours",
    }
    wrong: list[str] = []

    def ask(question: str, expected: str) -> None:
        for _ in range(3):
            body = {"question": question, "model": "extractive"}
            response = httpx2.post(
                f"{address}/api/ask", json=body, headers={"accept": "application/json"}, timeout=60
            )
            if expected not in response.json().get("answer", ""):
                wrong.append(response.text)

    threads = [threading.Thread(target=ask, args=pair) for pair in asked.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@dataclass
class Asking:
    """A question that the engine was asked: `stopped` tells whether nobody waits for its answer any more."""

    stopped: Stopped
    over: threading.Event


@pytest.fixture
def asked(engine: WarmLibrary, monkeypatch: pytest.MonkeyPatch) -> list[Asking]:
    """The questions that the engine is asked, in order."""
    seen: list[Asking] = []
    real = engine.ask

    def ask(question: Asked, tell: Tell, stopped: Stopped) -> Answer:
        seen.append(Asking(stopped, threading.Event()))
        over = seen[-1].over
        try:
            return real(question, tell, stopped)
        finally:
            over.set()

    monkeypatch.setattr(engine, "ask", ask)
    return seen


def test_a_closed_tab_stops_the_model_and_frees_it(
    engine: WarmLibrary, served: Served, gated: Gated, asked: list[Asking]
) -> None:
    address = served(engine)
    with asking(address, "gated-one") as stream:
        gated.one.let.release()
        stream.until("text")
    # It notices at the next piece, which nobody is told.
    _until(asked[0].stopped)
    gated.one.let.release()
    assert gated.one.closed.wait(10)
    assert len(gated.one.said) == 2
    gated.one.let.release(3)
    with asking(address, "gated-one") as stream:
        assert stream.until("done")["answer"].endswith("Never more.")


def test_a_closed_tab_stops_a_model_whose_pieces_are_held_back(
    engine: WarmLibrary, served: Served, gated: Gated, asked: list[Asking]
) -> None:
    # What may become code with brackets in it is told only when it is whole.
    gated.one.pieces = ["So `a", "b", "c", "d", "e`."]
    with asking(served(engine), "gated-one") as stream:
        gated.one.let.release()
        stream.until("text")
        gated.one.let.release()
        _until(lambda: len(gated.one.said) == 2)
    _until(asked[0].stopped)
    gated.one.let.release()
    assert gated.one.closed.wait(10)
    assert gated.one.said == ["So `a", "b", "c"]


def test_whoever_hangs_up_while_waiting_asks_no_model(
    engine: WarmLibrary, served: Served, gated: Gated, asked: list[Asking]
) -> None:
    address = served(engine)
    with asking(address, "gated-one") as first:
        gated.one.let.release()
        first.until("text")
        with asking(address, "gated-one") as second:
            second.until("note")
        _until(asked[1].stopped)
        gated.one.let.release(5)
        first.until("done")
    assert asked[1].over.wait(10)
    assert len(gated.one.said) == 3


def test_hanging_up_on_an_answer_in_one_piece_stops_the_model(
    engine: WarmLibrary, served: Served, gated: Gated, asked: list[Asking]
) -> None:
    address = served(engine)
    body = json.dumps({"question": QUESTION, "model": "gated-one", "config": "fts"})
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            "POST /api/ask HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        gated.one.let.release()
        _until(lambda: gated.one.said == ["Use 60 grams of beans "])
    _until(asked[0].stopped)
    gated.one.let.release()
    assert gated.one.closed.wait(10)
    assert len(gated.one.said) == 2


def test_a_question_before_the_models_are_there_waits_and_says_so(db: Path, served: Served) -> None:
    with closing(WarmLibrary(db, ["fts"])) as engine:
        address = served(engine)
        assert httpx2.get(f"{address}/api/status").json()["ready"] is False
        with asking(address, "extractive") as stream:
            assert stream.next() == ("note", {"note": WARMING})
            warm(engine)
            assert "60 grams" in stream.until("done")["answer"]
        assert httpx2.get(f"{address}/api/status").json()["ready"] is True


def test_one_question_too_many_is_told_to_come_back(
    engine: WarmLibrary, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_asking", threading.Semaphore(0))
    body = {"question": QUESTION}
    headers = {"accept": "application/json"}
    response = httpx2.post(f"{served(engine)}/api/ask", json=body, headers=headers, timeout=20)
    assert response.status_code == 503
    assert response.json()["error"].startswith(f"{MOST_AT_ONCE} questions are being answered already.")


def test_a_body_that_never_comes_is_waited_for_a_while_only(
    engine: WarmLibrary, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragqa.web.guard.BODY_S", 0.2)
    port = int(served(engine).rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(
            b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 408")


def test_who_asks_is_not_taken_from_a_header(engine: WarmLibrary, served: Served) -> None:
    address = served(engine, Settings(per_minute=2))
    statuses = [
        httpx2.get(f"{address}/api/status", headers={"x-forwarded-for": f"10.0.0.{number}"}).status_code
        for number in range(3)
    ]
    assert statuses == [200, 200, 429]


# -- the command ---------------------------------------------------------------------------------


@contextmanager
def command(*args: str | Path, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `ragqa serve`; yields the process and its address once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragqa", "serve", "--port", "0", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    assert process.stderr is not None
    try:
        address = process.stderr.readline().split()[1].rstrip("/")
        assert process.stderr.readline().startswith("Ready after ")
        yield process, address
    finally:
        process.kill()
        process.communicate()


def test_it_logs_nothing_that_is_asked_and_ends_at_once_whatever_is_under_way(db: Path) -> None:
    token = "a token that nobody knows"
    with command("--db", db, "-c", "fts", RAGQA_TOKEN=token) as (process, address):
        body = {"question": "beans and water", "model": "nobody"}
        headers = {"authorization": f"Bearer {token}"}
        assert httpx2.post(f"{address}/api/ask", json=body).status_code == 401
        assert httpx2.post(f"{address}/api/ask", json=body, headers=headers).status_code == 400
        found = httpx2.get(f"{address}/passage", params={"question": "beans"}, headers=headers)
        assert found.status_code == 400
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
            # A request that is read for ten seconds.
            line.sendall(
                b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            )
            # By the time it answers another one, it is at that.
            assert httpx2.get(f"{address}/api/status", headers=headers).status_code == 200
            start = time.perf_counter()
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert time.perf_counter() - start < 3
        assert process.communicate() == ("", "")


@pytest.mark.parametrize(
    ("host", "token", "others", "code", "said"),
    [
        ("0.0.0.0", None, {}, 2, "Others can reach 0.0.0.0: give a token"),
        ("0.0.0.0", "short", {}, 2, "The token is too short"),
        ("nowhere.invalid", "x" * 16, {}, 2, "There is no host 'nowhere.invalid' here"),
        ("127.0.0.1", None, {"configs": ["nowhere"]}, 2, "There is no config 'nowhere'."),
        ("127.0.0.1", None, {"model": "nobody"}, 2, "There is no model 'nobody'."),
        ("127.0.0.1", None, {"db": Path("nowhere.db")}, 1, "There is no corpus at nowhere.db yet"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    db: Path, host: str, token: str | None, others: dict[str, Any], code: int, said: str
) -> None:
    notes: list[str] = []
    serving = Serving(
        **{"db": db, "configs": ["fts"], "port": 0, **others}, settings=Settings(host, (), token)
    )
    with pytest.raises(RagqaError, match=said) as raised:
        serve(serving, notes.append)
    assert raised.value.exit_code == code
    assert notes == []


def test_a_port_in_use_is_a_sentence(ragqa: Run, db: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ragqa("serve", "--db", db, "-c", "fts", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: Nothing can listen on 127.0.0.1 port {port}: address already in use. Another one: --port.\n"
    )


def test_without_its_extra_it_says_what_to_install(db: Path) -> None:
    program = "import sys; sys.modules['fastapi'] = None; from ragqa.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--db", db], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: ragqa serve needs the package 'fastapi', which is not installed: pip install 'ragqa[web]'\n"
    )


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
