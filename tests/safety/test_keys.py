"""Keys are in nothing that is written: models and servers that give them away, and what is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragqa.safety.redaction import MARK, KeyFilter, redacted, traceback_text

ENVIRONMENT_KEY = "sk-environment-8c1f/6f+2b=09"
STORED_KEY = "sk-stored-51d7a0c2e94b"
QUESTION = "How many grams of beans for one litre of water?"

# What a plugin may do with its key, and all commands that write something of a model's answer.
PROGRAM = """
import sys
import llm
from llm.plugins import pm
from ragqa.cli.main import main

class Leaky(llm.KeyModel):
    model_id, needs_key, key_env_var, can_stream = "leaky", "leaky", "LEAKY_API_KEY", True

    def execute(self, prompt, stream, response, conversation, key):
        try:
            raise KeyError(key)
        except KeyError as error:
            raise RuntimeError(f"POST https://api.example/?key={key} failed") from error

class Chatty(Leaky):
    model_id = "chatty"

    def execute(self, prompt, stream, response, conversation, key):
        response.response_json = {"sent": {"Authorization": f"Bearer {key}"}}
        yield "Use 60 grams of beans for one litre of water [1]. My key is " + key[:7]
        yield key[7:] + ", and"
        yield " that is it."

class Plugin:
    __name__ = "Leaks"

    @llm.hookimpl
    def register_models(self, register):
        register(Leaky())
        register(Chatty())

pm.register(Plugin(), name="leaks")
for line in sys.stdin:
    sys.argv = ["ragqa", *line.rstrip("\\n").split("\\t")]
    print("$", *sys.argv, file=sys.stderr, flush=True)
    try:
        main()
    except SystemExit as stop:
        print("exit", stop.code, file=sys.stderr, flush=True)
"""


class _Echo(BaseHTTPRequestHandler):
    """Says in its answer, beside it, or in its error what headers it was sent."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sent = str(self.headers)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Use 60 grams [1]."}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {
            "id": "1",
            "usage": usage,
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        if asked["model"] == "says":
            choice["message"]["content"] += f" {sent}"  # type: ignore[index]
        if asked["model"] == "beside":
            reply["headers"] = sent
        status = 401 if asked["model"] == "refuses" else 200
        body = json.dumps({"error": {"message": f"wrong key in {sent}"}} if status == 401 else reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *about: object) -> None:
        pass


@pytest.fixture
def echo(isolated_user: Path) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        models = [
            {
                "model_id": f"echo-{name}",
                "model_name": name,
                "api_base": f"http://127.0.0.1:{server.server_port}/v1",
                "api_key_name": "marker",
                "can_stream": False,
            }
            for name in ("says", "beside", "refuses")
        ]
        folder = isolated_user / "llm"
        folder.mkdir(exist_ok=True)
        (folder / "extra-openai-models.yaml").write_text(json.dumps(models))
        (folder / "keys.json").write_text(json.dumps({"// Note": "Do not share!", "marker": STORED_KEY}))
        yield
        server.shutdown()
        thread.join()


@pytest.mark.needs("report")
def test_a_key_is_in_nothing_that_is_written(
    db: Path, tmp_path: Path, isolated_user: Path, echo: None
) -> None:
    (tmp_path / "questions.jsonl").write_text(
        json.dumps({"question": QUESTION, "relevant": ["coffee.md"], "golden_answers": ["60 grams"]})
    )
    asked = ["ask", QUESTION, "--db", str(db), "-c", "fts", "-m"]
    models = ("leaky", "chatty", "echo-says", "echo-beside", "echo-refuses")
    runs = ["--runs", "runs.db"]
    commands = [[*asked, model] for model in models]
    commands += [["--debug", *asked, model] for model in ("leaky", "echo-refuses")]
    commands += [[*asked, "chatty", "--json"], [*asked, "leaky", "--no-check"]]
    each = [part for model in models for part in ("-m", model)]
    commands += [["eval", "run", "questions.jsonl", "--db", str(db), "-c", "fts", *each, *runs]]
    commands += [["eval", "show", f"fts/{model}", *runs] for model in models]
    commands += [["eval", "report", "--html", "report.html", *runs]]
    commands += [["eval", "export", "3", "--jsonl", "-o", "export.jsonl", *runs]]
    written = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join("\t".join(command) for command in commands),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "LEAKY_API_KEY": ENVIRONMENT_KEY},
        timeout=120,
    )
    said = written.stdout + written.stderr
    # The places where a key would be are there.
    assert f"The model leaky failed: POST https://api.example/?key={MARK} failed" in said
    assert f"My key is {MARK}, and that is it." in written.stdout
    assert "Traceback" in written.stderr
    assert f"KeyError: '{MARK}'" in written.stderr
    assert f"Bearer {MARK}" in said
    assert "not in llm's log: the model said its own key" in written.stderr
    files = [path for folder in (tmp_path, isolated_user) for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"runs.db", "report.html", "export.jsonl", "logs.db"} <= names, written.stderr
    for key in (ENVIRONMENT_KEY, STORED_KEY):
        assert key not in said
        leaks = [path for path in files if key.encode() in path.read_bytes() and path.name != "keys.json"]
        assert leaks == []


def test_a_key_is_found_as_urls_and_json_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'k"ey/with+odd=signs'
    said = f"{key} k%22ey%2Fwith%2Bodd%3Dsigns {json.dumps(key)}"
    assert redacted(said, [key]) == f'{MARK} {MARK} "{MARK}"'
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-somebody")
    assert redacted("It was a-token-of-somebody.") == f"It was {MARK}."


def test_words_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "none")
    monkeypatch.setenv("MONKEY_BUSINESS", "bananas everywhere")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "sometimes")
    assert redacted("none, bananas everywhere, sometimes", ["none"]) == "none, bananas everywhere, sometimes"


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_key_cut_into_pieces_is_found(cut: int) -> None:
    text = "My key is sk-stored-51d7a0c2e94b, sk-stored-, and no more of sk-s"
    without = KeyFilter([STORED_KEY, None])
    pieces = [without.add(text[start : start + cut]) for start in range(0, len(text), cut)]
    assert "".join([*pieces, without.finish()]) == f"My key is {MARK}, sk-stored-, and no more of sk-s"
    assert without.removed


def test_without_a_key_each_piece_comes_at_once() -> None:
    without = KeyFilter([None])
    assert [without.add(piece) for piece in ("sk-", "st")] == ["sk-", "st"]


def test_a_traceback_is_printed_without_keys_and_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", ENVIRONMENT_KEY)
    text = traceback_text(RuntimeError(f"\x1b[31mPOST {ENVIRONMENT_KEY}"))
    assert text == f"RuntimeError: \ufffd[31mPOST {MARK}\n"


@pytest.mark.needs("mcp")
def test_what_fails_by_a_fault_of_ones_own_is_written_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ragqa.mcp.server import _say

    monkeypatch.setenv("SOME_API_KEY", ENVIRONMENT_KEY)
    assert _say("search", LookupError(ENVIRONMENT_KEY)).startswith("search failed (LookupError).")
    assert capsys.readouterr().err == f"LookupError: {MARK!r}\n".replace("'", "")
