"""Starts `python -m ragqa` without waiting for its imports: by a server that has done them, and forks.

Half of what a command of the tests takes is Python reading the same libraries. Each command still is a
process of its own, with its arguments, environment, folder and streams. What is imported when, and what the
environment says to a library while it is imported, is tested by processes that start from nothing.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

# What most commands import.
IMPORTED = [
    "ragqa.cli.app",
    "ragqa.operations.corpus",
    "ragqa.answer.request",
    "ragqa.evaluate.matrix",
    "onnxruntime",
]


def run(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], input: str | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Return what `subprocess.run` of `python -m ragqa` returns, its output as text."""
    with ExitStack() as stack:
        said, told, given = (stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(3))
        given.write((input or "").encode())
        given.flush()
        files = [given.name, said.name, told.name]
        process = _forking().Process(target=_command, args=(list(arguments), str(cwd), dict(env), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout, said.read(), told.read())
        output, errors = (file.read().decode() for file in (said, told))
    return subprocess.CompletedProcess(arguments, process.exitcode, output, errors)


def start() -> None:
    """Start the server, which keeps the environment that it finds here."""
    _forking()
    forkserver.ensure_running()


@cache
def _forking() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _command(arguments: list[str], cwd: str, env: dict[str, str], files: Sequence[str]) -> None:
    """Become the command: in the child."""
    for number, path in enumerate(files):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)
    for name, mode, number in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["ragqa", *arguments]
    try:
        runpy.run_module("ragqa", run_name="__main__", alter_sys=True)
    finally:
        # A child of multiprocessing ends without.
        atexit._run_exitfuncs()
