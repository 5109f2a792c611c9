"""Long output on a terminal, through the user's pager. In a pipe there is none."""

from __future__ import annotations

import io
import math
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import PurePath

from ragqa.cli.show import is_plain, width

_STYLE = re.compile(r"\x1b\[[\d;]*m")


class _Screen(io.StringIO):
    """What is printed while it may yet go to a pager; it takes colours where the pager does."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def isatty(self) -> bool:
        return self._colours


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Show what the block prints, on a terminal through a pager where it is longer than the screen.

    click's pager is used, not pydoc's: it knows whether the program takes colours, takes arguments in $PAGER,
    and outlives Ctrl-C and a pager that is left early.
    """
    if not wanted or not sys.stdout.isatty() or not sys.stdin or not sys.stdin.isatty() or is_dumb():
        yield
        return
    colours = _prepare_pager()
    screen = _Screen(colours)
    try:
        with redirect_stdout(screen):
            yield
    except BaseException:
        print(screen.getvalue(), end="", flush=True)
        raise
    text = screen.getvalue()
    if rows(text, shutil.get_terminal_size().columns) < shutil.get_terminal_size().lines:
        print(text, end="")
        return
    import click

    with _interrupts_left_to_pager():
        click.echo_via_pager(text, color=colours and not is_plain())


@contextmanager
def _interrupts_left_to_pager() -> Iterator[None]:
    """Let Ctrl-C reach the pager alone, also while it is still being given its text."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A handler of Python's, unlike SIG_IGN, is not handed on to the pager.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


def rows(text: str, columns: int) -> int:
    """Return how many rows of a terminal `text` takes: lines that are too long go on in the next."""
    return sum(max(1, math.ceil(width(line) / columns)) for line in _STYLE.sub("", text).splitlines())


def _prepare_pager() -> bool:
    """Tell whether the pager takes colours; less does, and is asked to."""
    try:
        command = shlex.split(os.environ.get("PAGER", ""))
    except ValueError:
        # It says nothing that can be run, and click would stumble over it.
        del os.environ["PAGER"]
        command = []
    if command and PurePath(command[0]).stem != "less":
        return False
    if not command and shutil.which("less") is None:
        return False
    os.environ["LESS"] = f"{os.environ.get('LESS', '')} -R".strip()
    return True
