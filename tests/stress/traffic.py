"""What the clients of the long run send: questions of every kind, and the faults that come between them."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.stress.serving import ENDLESS, FAILING

PATIENCE_S = 60
# uvicorn keeps a line for 5 seconds.
IDLE_S = 3.0
KINDS = {"search": 40, "ask json": 20, "ask stream": 20, "explain": 10, "document": 10}
# The default config most of all, as users do.
CONFIGS = {"": 6, "fts": 2, "dense": 2}
JSON = {"content-type": "application/json", "accept": "application/json"}
TURN = re.compile(r"turn-(\d+)")


class WrongError(Exception):
    """The server did not do what it promises; the first argument says in a few words what."""


@dataclass(frozen=True, slots=True)
class Material:
    """The questions, and the ids of documents that are there and stay there while they are asked."""

    questions: Sequence[str]
    documents: Sequence[str]


class Client:
    """One client with a connection that is kept open as long as all goes well."""

    def __init__(self, port: int, material: Material, seed: int) -> None:
        self.port = port
        self.material = material
        self.random = random.Random(seed)
        self._line = self._connection()
        self._used = time.monotonic()

    def close(self) -> None:
        self._line.close()

    def again(self) -> None:
        self.close()
        self._line = self._connection()

    def kind(self) -> str:
        return self._one_of(KINDS)

    # -- questions ------------------------------------------------------------------------------

    def ask(self, kind: str) -> None:
        """Ask one question of this kind; raises WrongError or OSError where the answer is none."""
        match kind:
            case "search":
                _check_hits(self._good("/api/search", {**self._question(), "k": self.random.choice([3, 10])}))
            case "ask json":
                _check_answer(self._good("/api/ask", {**self._question(), "model": "extractive"}))
            case "ask stream":
                events = self._stream({**self._question(), "model": "extractive"})
                if [name for name, _ in events[:1] + events[-1:]] != ["search", "done"]:
                    raise WrongError(f"a stream that ends with {events[-1:]}")
                _check_answer(events[-1][1])
            case "explain":
                _check_hits(self._good("/api/explain", self._question()))
            case _:
                name = self.random.choice(self.material.documents)
                _check_document(self._good(f"/api/document/{name}", None))

    def _question(self) -> dict[str, str]:
        question = self.random.choice(self.material.questions)
        return {"question": question, "config": self._one_of(CONFIGS)}

    def _one_of(self, weights: dict[str, int]) -> str:
        return self.random.choices(list(weights), list(weights.values()))[0]

    def _good(self, path: str, body: Any) -> Any:
        status, data = self._send(path, None if body is None else json.dumps(body).encode())
        if status != 200:
            raise WrongError(f"{path.split('/')[2]}: {status} {data.decode('utf-8', 'replace')}")
        return json.loads(data)

    def _send(self, path: str, body: bytes | None, **headers: str) -> tuple[int, bytes]:
        given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        response = self._response("GET" if body is None else "POST", path, body, given)
        return response.status, response.read()

    def _response(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        # As clients do: a server closes a line that was idle for a while, and may do so at any moment then.
        if time.monotonic() - self._used > IDLE_S:
            self.again()
        self._line.request(method, path, body, headers)
        response = self._line.getresponse()
        self._used = time.monotonic()
        return response

    def _stream(self, body: Any) -> list[tuple[str, Any]]:
        headers = {"content-type": "application/json"}
        response = self._response("POST", "/api/ask", json.dumps(body).encode(), headers)
        said = response.read().decode("utf-8")
        if response.status != 200:
            raise WrongError(f"ask stream: {response.status} {said}")
        found = re.findall(r"^event: (\w+)\ndata: (.*)$", said, re.M)
        return [(name, json.loads(data)) for name, data in found]

    # -- faults ---------------------------------------------------------------------------------

    def failing_model(self) -> None:
        """Ask a model that fails: an answer in one piece says so by its status, a stream by its end."""
        body = {**self._question(), "model": self.random.choice(FAILING)}
        if self.random.random() < 0.5:
            status, data = self._send("/api/ask", json.dumps(body).encode())
            told = json.loads(data)
            said = told["error"] if status == 500 else f"{status}, {data!r}"
        else:
            events = self._stream(body)
            told = events[-1][1] if events else {}
            said = told["error"] if events and events[-1][0] == "error" else f"{events[-1:]}"
        # Where the passages look as if they held no answer, no model is asked, and so none fails.
        if "failed: " not in said and told.get("refused_by") != "scores":
            raise WrongError(f"{body['model']} failed, and this was said: {said}")

    def hang_up(self) -> None:
        """Hang up while the head is sent, the body is, the answer is made, or in the midst of the stream."""
        how = self.random.choice(["head", "body", "waiting", "search", "stream", "stream"])
        path = "/api/search" if how == "search" else "/api/ask"
        body = self._question() if how == "search" else {**self._question(), "model": ENDLESS}
        data = json.dumps(body).encode()
        accept = "application/json" if how == "waiting" else "text/event-stream"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode()
        cut = {"head": len(head) // 2, "body": len(head) + len(data) // 2}.get(how)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as line:
            line.sendall((head + data)[:cut])
            if how == "stream":
                _read_until(line, b"event: text")
            elif how == "waiting":
                time.sleep(self.random.random() / 2)

    def malformed(self) -> None:
        """Send what no client should; raises WrongError where the server does not refuse it as it ought."""
        if self.random.random() < 0.25:
            self._garbage()
            return
        path, body, headers, wanted = self.random.choice(MALFORMED)
        try:
            status, data = self._send(path, body, **headers)
        except OSError:
            # Told to send no more, it may hang up before all of a body that is too long was sent.
            if wanted != 413:
                raise
            self.again()
            return
        if status != wanted:
            raise WrongError(f"{path} with {body!r:.60}: {status} instead of {wanted}, {data!r:.200}")
        if not json.loads(data).get("error", "").endswith("."):
            raise WrongError(f"{path} with {body!r:.60}: {data!r:.200} is no sentence")
        if status == 413:
            self.again()

    def _garbage(self) -> None:
        data = self.random.choice(GARBAGE) or self.random.randbytes(200) + b"\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as line:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            said = line.recv(100)
        if said and not said.startswith(b"HTTP/1.1 4"):
            raise WrongError(f"garbage {data!r:.60}: {said!r:.60}")

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)


# The path, the body, other headers, and the status with which it is refused.
_QUESTION = b'{"question": "x", '
MALFORMED: Sequence[tuple[str, bytes | None, dict[str, str], int]] = (
    ("/api/search", b"{", {}, 400),
    ("/api/search", b"", {}, 400),
    ("/api/search", b"\xff\xfe{}", {}, 400),
    ("/api/search", b"[" * 30_000, {}, 400),
    ("/api/search", b"null", {}, 400),
    ("/api/search", b'{"question": 7}', {}, 400),
    ("/api/search", b'{"question": " \\u0000 "}', {}, 400),
    ("/api/search", _QUESTION + b'"k": 0}', {}, 400),
    ("/api/search", _QUESTION + b'"k": 1e999}', {}, 400),
    ("/api/search", _QUESTION + b'"k": ' + b"9" * 5_000 + b"}", {}, 400),
    ("/api/search", _QUESTION + b'"config": "../../etc/passwd"}', {}, 400),
    ("/api/search", _QUESTION + b'"other": 1}', {}, 400),
    ("/api/search", b'{"question": "' + b"x" * 20_000 + b'"}', {}, 400),
    ("/api/ask", _QUESTION + b'"model": "\\ud800"}', {}, 400),
    ("/api/ask", _QUESTION + b'"model": "nobody"}', {}, 400),
    ("/api/ask", b'{"question": "' + b"x" * 70_000 + b'"}', {}, 413),
    ("/api/ask", b"question=x", {"content_type": "application/x-www-form-urlencoded"}, 415),
    ("/api/ask", b"{}", {"origin": "http://elsewhere.example"}, 403),
    ("/api/ask", b"{}", {"host": "elsewhere.example"}, 400),
    ("/api/ask", None, {}, 405),
    ("/api/explain", _QUESTION + b'"document": "nowhere \\ud800"}', {}, 400),
    ("/api/document/nowhere%00%ff/..", None, {}, 404),
    ("/api/nothing", None, {}, 404),
)
GARBAGE = (
    b"",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
)


def _read_until(line: socket.socket, wanted: bytes) -> None:
    data = b""
    while wanted not in data:
        piece = line.recv(4096)
        if not piece:
            raise WrongError(f"a stream that ended before its first piece: {data[-200:]!r}")
        data += piece


def _check_hits(form: Any) -> None:
    if not form["hits"]:
        raise WrongError("no hits")
    for hit in form["hits"]:
        if not hit["text"] or len(set(TURN.findall(hit["text"]))) > 1:
            raise WrongError(f"a passage of two states: {hit['text']!r}")


def _check_answer(form: Any) -> None:
    _check_hits(form)
    found = {hit["passage_id"] for hit in form["hits"]}
    cited = {citation["passage_id"] for citation in form["citations"]}
    if not cited <= found:
        raise WrongError(f"cited and not found: {sorted(cited - found)}")


def _check_document(form: Any) -> None:
    """The text and the places of the passages in it have to be of one state of the document."""
    text, places = form["text"], [(passage["start"], passage["end"]) for passage in form["passages"]]
    if not places or any(not 0 <= start < end <= len(text) for start, end in places):
        raise WrongError(f"passages {places} of a document of {len(text)} characters")
    turns = set(TURN.findall(text))
    # The notes that change are cut between their words, and the last word is in the last passage.
    within = [
        end for place in places for end in place if text[end - 1 : end + 1].strip() == text[end - 1 : end + 1]
    ]
    if len(turns) > 1 or (
        turns and (text[places[-1][1] :].strip() or any(0 < end < len(text) for end in within))
    ):
        raise WrongError(f"passages {places} that are not those of {text!r}")
