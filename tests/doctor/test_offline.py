"""The proof that nothing leaves the machine, and the list of licences: what they find and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragqa.cli.app import app
from ragqa.doctor import offline
from ragqa.doctor.licences import UNKNOWN, licences
from tests.conftest import Run

ATTEMPTS = """
import json, socket, urllib.request
from ragqa.doctor.offline import _block

attempts = []
_block(attempts)
for try_it in (
    lambda: urllib.request.urlopen("http://example.com/"),
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    lambda: socket.gethostbyname("example.com"),
):
    try:
        try_it()
    except OSError:
        pass
    else:
        attempts.append("let through")
print(json.dumps(attempts))
"""

# What a library that is no Python does, as far as Python can play it: without an audit hook.
SENDING = """
import socket
try:
    socket.create_connection(("192.0.2.1", 9), 1)
except OSError:
    pass
"""


def test_every_attempt_to_reach_the_network_fails_and_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", ATTEMPTS], capture_output=True, text=True, check=True)
    attempts = json.loads(done.stdout)
    assert [attempt.partition("(")[0] for attempt in attempts] == [
        "socket.getaddrinfo",
        "socket.getaddrinfo",
        "socket.sendto",
        "socket.gethostbyname",
    ]
    assert "example.com" in attempts[0]


def test_what_no_python_sends_is_counted_where_the_system_can() -> None:
    program = (
        "import subprocess, sys\nfrom ragqa.doctor.offline import _leave_network, _sent\n"
        "own = _leave_network()\nbefore = _sent() if own else 0\n"
        f"subprocess.run([sys.executable, '-c', {SENDING!r}])\nprint(own, (_sent() if own else 1) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    own, sent = done.stdout.split()
    if own == "False":
        pytest.skip("this system gives no process a network of its own")
    assert int(sent) > 0


@pytest.mark.slow
def test_doctor_shows_what_it_did_without_network(db: Path, ragqa: Run) -> None:
    done = ragqa("doctor", "--offline-check", "--db", db, "--json")
    report = json.loads(done.stdout)
    checked = report["offline_check"]
    assert (checked["attempts"], report["problems"], done.returncode) == ([], [], 0)
    assert [step["step"] for step in checked["steps"]] == [
        "ingest a note",
        "index it",
        *(f"{do} {name} with {config}" for name in ("the note", db.name) for config in ("fts", "default")
          for do in ("search", "ask")),
    ]  # fmt: skip
    assert all(step["worked"] for step in checked["steps"])


def test_doctor_exits_with_1_when_something_tried_the_network(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"step": "ask the note with default", "worked": False, "result": "no network"}
    found: dict[str, Any] = {
        "steps": [failed],
        "attempts": ["socket.getaddrinfo('x', 443)"],
        "network": "none",
    }
    monkeypatch.setattr(offline, "offline_check", lambda db: found)
    done = CliRunner().invoke(app, ["doctor", "--offline-check", "--db", str(db)])
    assert done.exit_code == 1
    assert "Problem: It tried to reach the network: socket.getaddrinfo('x', 443)." in done.stdout
    assert "Problem: Without network this failed: ask the note with default: no network" in done.stdout
    assert "All is well" not in done.stdout


def test_licences_are_told_of_everything_that_is_needed() -> None:
    found = {one["name"].lower(): one["licence"] for one in licences()}
    assert found["ragqa"] == "Apache-2.0"
    # Of ragqa itself, of what it needs, and of what that needs.
    assert {"llm", "all-minilm-l6-v2", "pydantic", "pydantic_core", "tokenizers"} <= found.keys()
    assert UNKNOWN not in (found["numpy"], found["onnxruntime"], found["pyyaml"])
    listed = CliRunner().invoke(app, ["doctor", "--licences"]).stdout.splitlines()
    assert listed[0].split() == ["package", "version", "licence"]
    assert len(listed) == len(found) + 1
