"""The proof that nothing leaves the machine: questions are answered in a process that has no network.

Run as `python -m ragqa.doctor.offline`, which prints JSON; `ragqa doctor --offline-check` shows it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragqa.errors import RagqaError

CONFIGS = ("fts", "default")
QUESTION = "What is this about?"
NOTE = "# Green tea\n\nGreen tea is steeped at 70 degrees for two minutes.\n"
TIMEOUT_S = 600
# What Python tells an audit hook of before it is done (https://docs.python.org/3/library/audit_events.html).
EVENTS = frozenset(
    {
        "socket.connect",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
    }
)
# Variables that would keep a library from calling out: what is to be shown must hold without them.
HELPFUL = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "ORT_DISABLE_TELEMETRY", "CI")
# What a library reports of its use it sends in the background, some seconds later.
LINGER_S = 10
INSIDE = "--inside"
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def offline_check(db: Path | None) -> dict[str, Any]:
    """Return what was tried without network: `steps` with what came of each, and `attempts` to reach it.

    `network` says how it was kept away.
    Tried are a small corpus of its own, from ingesting on, and the one at `db` if it has been indexed.
    Raises RagqaError when the process could not be run.
    """
    environment = {name: value for name, value in os.environ.items() if name not in HELPFUL}
    command = [sys.executable, "-m", "ragqa.doctor.offline", *([str(db)] if db else [])]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RagqaError(f"The offline check could not be run: {error}.") from error
    except ValueError as error:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise RagqaError(f"The offline check broke off: {last}") from error
    return report


def _block(attempts: list[str]) -> None:
    """Have every attempt to reach the network fail, noted in `attempts`."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            asked = ", ".join(repr(part) for part in arguments if isinstance(part, str | tuple | int))
            attempts.append(f"{event}({asked})")
            raise PermissionError("the offline check allows no network")

    sys.addaudithook(hook)


def _leave_network() -> bool:
    """Move this process into a network of its own that leads nowhere; tell whether the system let it.

    That binds C++ and Rust as well. To be done before there are threads, which would stay outside.
    """
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        return any(libc.unshare(flags) == 0 for flags in (_NEW_NETWORK, _NEW_USER | _NEW_NETWORK))
    return False


def _check(db: str | None) -> dict[str, Any]:
    """Run `_try_all` in a process of its own, and count what it sent where it has a network of its own."""
    own_network = _leave_network()
    before = _sent() if own_network else 0
    command = [sys.executable, "-m", "ragqa.doctor.offline", INSIDE, *([db] if db else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    sent = _sent() - before if own_network else 0
    if sent and not report["attempts"]:
        report["attempts"].append(f"a library sent {sent} packets that Python does not know of")
    told = "a network of its own that leads nowhere" if own_network else "Python's sockets blocked"
    return {**report, "network": told}


def _sent() -> int:
    """Return how many packets this network was given so far: the kernel counts those without a way out, too.

    The names are those of RFC 1213's MIB, as /proc/net/snmp has them.
    """
    lines = Path("/proc/self/net/snmp").read_text(encoding="ascii").splitlines()
    counted = 0
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        found = dict(zip(names.split(), values.split(), strict=False))
        counted += sum(int(found.get(name, 0)) for name in ("OutRequests", "OutNoRoutes"))
    six = Path("/proc/self/net/snmp6")
    for line in six.read_text(encoding="ascii").splitlines() if six.exists() else ():
        name, value = line.split()
        # A new network announces itself, by multicast, to nobody.
        counted += int(value) if name == "Ip6OutNoRoutes" else 0
    return counted


def _try_all(db: Path | None) -> dict[str, Any]:
    attempts: list[str] = []
    _block(attempts)
    steps: list[dict[str, Any]] = []

    def step(what: str, action: Callable[[], str]) -> bool:
        try:
            steps.append({"step": what, "worked": True, "result": action()})
        except Exception as error:
            steps.append({"step": what, "worked": False, "result": str(error) or type(error).__name__})
        return bool(steps[-1]["worked"])

    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "offline.db"
        if step("ingest a note", lambda: _ingest(Path(folder), corpus)):
            step("index it", lambda: _index(corpus))
            _ask_all(step, "the note", corpus)
    if db is not None:
        _ask_all(step, db.name, db)
    time.sleep(LINGER_S)
    return {"steps": steps, "attempts": attempts}


def _ask_all(step: Callable[[str, Callable[[], str]], bool], name: str, db: Path) -> None:
    for config in CONFIGS:
        step(f"search {name} with {config}", lambda config=config: _search(db, config))  # type: ignore[misc]
        step(f"ask {name} with {config}", lambda config=config: _ask(db, config))  # type: ignore[misc]


def _ingest(folder: Path, db: Path) -> str:
    from ragqa.operations.corpus import ingest_sources
    from ragqa.sources import Fields, open_sources

    notes = folder / "notes"
    notes.mkdir()
    (notes / "tea.md").write_text(NOTE, encoding="utf-8")
    return f"{ingest_sources(db, 'default', open_sources([str(notes)], Fields())).added} added"


def _index(db: Path) -> str:
    from ragqa.operations.corpus import build_index
    from ragqa.pipeline import Pipeline

    with Pipeline.from_config("default", db) as pipeline:
        return ", ".join(f"{name} {built}" for name, built in build_index(pipeline)["stages"].items())


def _search(db: Path, config: str) -> str:
    from ragqa.pipeline import Pipeline

    with Pipeline.from_config(config, db) as pipeline:
        return f"{len(pipeline.search(_question(pipeline)).hits)} passages"


def _ask(db: Path, config: str) -> str:
    from ragqa.pipeline import Pipeline

    with Pipeline.from_config(config, db) as pipeline:
        answer = pipeline.ask(_question(pipeline), model="extractive", log=False)
    return f"{len(answer.text)} characters, {len(answer.citations)} citations"


def _question(pipeline: Any) -> str:
    """Return a question that something in the corpus answers: about the title of a document."""
    row = pipeline.corpus.connection.execute(
        "SELECT title FROM documents WHERE title != '' LIMIT 1"
    ).fetchone()
    return f"What is {row[0]}?" if row else QUESTION


if __name__ == "__main__":
    inside = sys.argv[1:2] == [INSIDE]
    paths = sys.argv[2 if inside else 1 :]
    corpus_path = paths[0] if paths else None
    print(json.dumps(_try_all(Path(corpus_path) if corpus_path else None) if inside else _check(corpus_path)))
