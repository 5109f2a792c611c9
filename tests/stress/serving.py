"""What the long run watches: the server as a process of its own, and a writer that changes its corpus."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY_S = 120
# How often a server that nobody asks is looked at until it rests.
LOOK_S = 0.5
REST_S = 20
BUSY = "Another process is writing to"

# Models that fail in the ways in which a plugin's do, registered as a plugin's are: by an entry point.
PLUGIN = '''"""Models for the long run: one that answers without end, and those that fail."""

import sys
import time

import llm


class Model(llm.Model):
    can_stream = True

    def __init__(self, kind):
        self.kind = kind
        self.model_id = "load-" + kind

    def execute(self, prompt, stream, response, conversation):
        if self.kind == "dead":
            raise ConnectionError("nobody answers")
        yield "The notes say so [1]. "
        if self.kind == "broken":
            raise RuntimeError("the server hung up")
        if self.kind == "odd":
            raise ValueError("half a character: \\udc80, and \\x1b[31m red")
        if self.kind == "leaving":
            sys.exit("the model is gone")
        for number in range(1500):
            time.sleep(0.02)
            yield f"And {number} more. "


@llm.hookimpl
def register_models(register):
    for kind in ("endless", "dead", "broken", "odd", "leaving"):
        register(Model(kind))
'''
FAILING = ("load-dead", "load-broken", "load-odd", "load-leaving")
ENDLESS = "load-endless"


def write_plugin(folder: Path) -> Path:
    """Write the plugin and what makes Python believe that it is installed; return the folder to search."""
    told = folder / "load_models-1.dist-info"
    told.mkdir(parents=True, exist_ok=True)
    (folder / "load_models.py").write_text(PLUGIN, encoding="utf-8")
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: load-models\nVersion: 1\n", encoding="utf-8")
    (told / "entry_points.txt").write_text("[llm]\nload_models = load_models\n", encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds: resident memory in MB, open files, threads."""

    rss_mb: float
    files: int
    threads: int


def usage(pid: int) -> Usage:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    values = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M)}
    return Usage(values["VmRSS"] / 1024, len(os.listdir(f"/proc/{pid}/fd")), values["Threads"])


@dataclass(frozen=True, slots=True)
class Served:
    """A running `ragqa serve`; `log` is the file with all that it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def usage(self) -> Usage:
        return usage(self.process.pid)

    def resting(self) -> Usage:
        """Return what it holds once nothing is under way: at the fewest threads for a while."""
        best = self.usage()
        end = time.monotonic() + REST_S
        quiet = 0
        while time.monotonic() < end and quiet < 4:
            time.sleep(LOOK_S)
            now = self.usage()
            quiet = 0 if (now.files, now.threads) != (best.files, best.threads) else quiet + 1
            best = now
        return best

    def tracebacks(self) -> int:
        return self.log.read_text(encoding="utf-8", errors="replace").count("Traceback (most recent call")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a user with nothing of their own but the plugin."""
    plugin = write_plugin(folder / "plugin")
    paths = [str(plugin), os.environ.get("PYTHONPATH", "")]
    home = {"HOME": folder, "LLM_USER_PATH": folder / "llm", "XDG_DATA_HOME": folder / "data"}
    return {
        **os.environ,
        **{name: str(value) for name, value in home.items()},
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
    }


def ragqa(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "ragqa", *map(str, args)]


@contextmanager
def serving(db: Path, folder: Path, env: dict[str, str]) -> Iterator[Served]:
    """Run `ragqa serve` on a free port until the block ends, which Ctrl-C ends it with."""
    log = folder / "serve.log"
    command = ragqa("serve", "--db", db, "--model", "extractive", "--port", "0", "--rate", "1000000")
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=env)
    try:
        yield Served(process, _port(process, log), log)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        said = log.read_text(encoding="utf-8")
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        if address and "Ready after" in said:
            return int(address[1])
        time.sleep(0.1)
    raise RuntimeError(f"ragqa serve does not start: {log.read_text(encoding='utf-8')}")


@dataclass(slots=True)
class Writer:
    """Changes `notes` notes in a folder, ingests and indexes them, again and again, in other processes."""

    db: Path
    folder: Path
    env: dict[str, str]
    notes: int = 20
    pause_s: float = 0.5
    rounds: int = 0
    busy: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def round(self) -> None:
        """Change every note, and bring the corpus up to date."""
        self.rounds += 1
        self.folder.mkdir(exist_ok=True)
        for number in range(self.notes):
            text = changing_note(number, self.rounds)
            (self.folder / f"changing-{number}.md").write_text(text, encoding="utf-8")
        for args in (("ingest", self.folder), ("index",), ("index", "-c", "dense")):
            done = subprocess.run(
                ragqa(*args, "--db", self.db), capture_output=True, text=True, env=self.env, timeout=300
            )
            if BUSY in done.stderr:
                # The server is storing what it made for a question; the next round does what was left.
                self.busy += 1
            elif done.returncode:
                self.failures.append(f"{args[0]}: {done.stderr.strip()}")

    def _run(self) -> None:
        while not self._stop.wait(self.pause_s):
            self.round()


def changing_note(number: int, turn: int) -> str:
    """Return a note whose every passage names its turn; it is longer or shorter than the last one."""
    sections = [
        f"## Part {part}\n\nState of part {part} in note {number}: turn-{turn}."
        + f" The valve of machine {number * 7 + part} was opened in turn-{turn}."
        * (6 + 3 * ((turn + part) % 4))
        for part in range(4)
    ]
    return f"# Machine log {number}\n\nWritten in turn-{turn}.\n\n" + "\n\n".join(sections) + "\n"
