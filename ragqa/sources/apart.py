"""Reading in a process of its own, which may hang, crash or run out of memory alone.

The process is started with the first file and reads one after the other. A file that it takes too long for,
or dies of, is passed over and named, and the next one gets a new process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ragqa.sources.loader import File, Loader
from ragqa.sources.source import Item, Skipped, UnderWay
from ragqa.sources.text import UnreadableError
from ragqa.types import Document, Part, Parts

# How long a file may take from one document to the next, and how much memory the process may have.
PATIENCE_S = 120.0
MEMORY = 4 * 2**30
_KINDS = {Document: "document", Skipped: "skipped", UnderWay: "under way"}
_LENGTH = struct.Struct("<Q")


class _Reader:
    """The process, and a thread that takes what it sends."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from ragqa.sources.apart import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What a library has to say of a broken file is of use to nobody who ingests it.
            stderr=subprocess.DEVNULL,
        )
        self.sent: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._take, daemon=True).start()

    def ask(self, loader: Loader, file: File) -> None:
        assert self.process.stdin is not None
        _send(self.process.stdin, [loader.target, {**asdict(file), "path": str(file.path)}])

    def stop(self) -> None:
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _take(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                self.sent.put(_receive(self.process.stdout))
        self.sent.put(EOFError)


_lock = threading.Lock()
_reader: _Reader | None = None


def read_apart(loader: Loader, file: File) -> Iterator[Item]:
    """Yield what `loader` makes of a file; raises UnreadableError, also for what it does not survive."""
    with _lock:
        reader = _running()
        try:
            reader.ask(loader, file)
            while True:
                item = reader.sent.get(timeout=PATIENCE_S)
                if item is None:
                    return
                if item is EOFError:
                    stop()
                    raise UnreadableError("damaged (reading it ended the process that did)")
                kind, values = item
                if kind == "unreadable":
                    raise UnreadableError(values)
                yield _item(kind, values)
        except (queue.Empty, OSError) as error:
            stop()
            reason = f"took longer than {PATIENCE_S:.0f} s" if isinstance(error, queue.Empty) else str(error)
            raise UnreadableError(reason) from error
        except GeneratorExit:
            # Nobody takes the rest, which would be taken for the next file's.
            stop()
            raise


def _running() -> _Reader:
    global _reader
    if _reader is None or _reader.process.poll() is not None:
        stop()
        _reader = _Reader()
    return _reader


def stop() -> None:
    """End the process, if there is one."""
    global _reader
    if _reader is not None:
        _reader.stop()
        _reader = None


atexit.register(stop)


def _send(pipe: IO[bytes], value: Any) -> None:
    data = json.dumps(value).encode("utf-8", "replace")
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    return json.loads(pipe.read(length))


def _item(kind: str, values: dict[str, Any]) -> Item:
    """Return what the process sent, as values alone: what is in it may have come to command it."""
    if kind == "skipped":
        return Skipped(**values)
    if kind == "under way":
        return UnderWay(**values)
    parts = values.pop("parts")
    if parts is not None:
        made = (Part(**{**part, "headings": tuple(part["headings"])}) for part in parts["parts"])
        parts = Parts(parts["kind"], tuple(made))
    return Document(**values, parts=parts)


def main() -> None:
    """Read what is asked for on stdin until that ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A message's attachment is read apart again, and must be given up before the message is.
    global PATIENCE_S
    PATIENCE_S /= 2
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # A library that prints would be taken for a document.
    os.dup2(2, 1)
    while True:
        try:
            target, values = _receive(asked)
        except EOFError:
            return
        file = File(**{**values, "path": Path(values["path"])})
        try:
            for item in Loader((), target).load()(file):
                _send(answers, [_KINDS[type(item)], asdict(item)])
            _send(answers, None)
        except UnreadableError as error:
            _send(answers, ["unreadable", str(error)])
        except (MemoryError, RecursionError):
            _send(answers, ["unreadable", "too large or nested too deeply to be read"])
        except Exception as error:  # a file that others made may trip a library in any way
            _send(answers, ["unreadable", f"damaged ({type(error).__name__})"])
