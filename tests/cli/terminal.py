"""A terminal for tests: a program on a pty, what is typed into it, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

RAGQA = (sys.executable, "-m", "ragqa")
ESCAPE = "\x1b"
# What a terminal or its user decides, and a test runner may have set.
_OWN = ("NO_COLOR", "PAGER", "LINES", "COLUMNS")


class Terminal:
    """A program on a terminal of its own. Use as a context manager."""

    def __init__(
        self, command: Sequence[str | Path], cwd: Path, rows: int = 24, columns: int = 100, **env: str
    ) -> None:
        self.shown = ""
        self.code: int | None = None
        self._pid, self._fd = pty.fork()
        if not self._pid:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.chdir(cwd)
            plain = {name: value for name, value in os.environ.items() if name not in _OWN}
            arguments = list(map(str, command))
            os.execvpe(arguments[0], arguments, {**plain, "TERM": "xterm", "PS1": "$ ", **env})

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        # It hangs up, and ends what still runs.
        os.close(self._fd)
        if self.code is None:
            os.waitpid(self._pid, 0)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str, seconds: float = 20) -> str:
        """Wait until `text` is shown, and return all that is shown since the last time."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} did not come: {self.shown!r}"
            assert self._read(), f"It ended without {text!r}: {self.shown!r}"
        place = self.shown.index(text) + len(text)
        before, self.shown = self.shown[:place], self.shown[place:]
        return before

    def rest(self) -> str:
        """Wait until the program ends, and return what it showed."""
        end = time.monotonic() + 60
        while self._read():
            assert time.monotonic() < end, f"It does not end: {self.shown!r}"
        self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.shown

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 0.1)[0]:
            return True
        try:
            read = os.read(self._fd, 65536)
        except OSError:
            return False
        self.shown += read.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(read)


def shown(*arguments: str | Path, cwd: Path, **env: str) -> str:
    """Run `ragqa` on a terminal and return what it showed."""
    with Terminal([*RAGQA, *arguments], cwd, **env) as terminal:
        return terminal.rest()
