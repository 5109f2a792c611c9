"""What is counted: words found, pairs in order, rows kept, megabytes and seconds."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

from ragqa.doctor.extras import closure

ROUNDS = 5
# Letters at each side of a joint that must stand together.
JOINT = 14


def need(module: str) -> Any:
    """Import a library that may not be installed, and that has no types."""
    return importlib.import_module(module)


def squashed(text: str) -> str:
    """Return the text without blanks and punctuation: what libraries differ in that nobody reads."""
    return re.sub(r"[\W_]+", "", text)


def words_found(sentences: Iterable[str], text: str) -> float:
    """Return which part of the words is in the text."""
    inside = squashed(text)
    words = [squashed(word) for sentence in sentences for word in sentence.split()]
    return sum(word in inside for word in words) / max(len(words), 1)


def in_order(lines: Sequence[str], text: str) -> float:
    """Return which part of neighbours stand next to each other in the text, in their order."""
    inside = squashed(text)
    plain = [squashed(line) for line in lines]
    joints = [one[-JOINT:] + other[:JOINT] for one, other in pairwise(plain)]
    return sum(joint in inside for joint in joints) / max(len(joints), 1)


def rows_kept(rows: Iterable[Sequence[str]], text: str) -> int:
    """Return how many rows have all their cells on one line, in their order."""
    lines = [squashed(line) for line in text.splitlines()]
    return sum("".join(map(squashed, row)) in lines for row in rows)


def outcome(read: Callable[[], str]) -> str:
    """Return what reading does, in a word: the error's name, `empty`, or the letters that came."""
    try:
        text = quietly(read)
    # A native library's panic is no Exception.
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return f"`{type(error).__name__}`"
    return f"{len(squashed(text)):,} letters" if squashed(text) else "empty"


def quietly(read: Callable[[], str]) -> str:
    """Return what `read` returns; what it prints from Python is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return read()


def seconds(read: Callable[[], str], rounds: int = ROUNDS) -> float:
    """Return the median time of some readings, after one that is not counted."""
    quietly(read)
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        quietly(read)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def version(package: str) -> str | None:
    """Return the version of a package, without its extras, or None where it is not installed."""
    try:
        return distribution(package.partition("[")[0]).version
    except PackageNotFoundError:
        return None


def licence(package: str) -> str:
    """Return what the package's metadata call its licence."""
    about = distribution(package.partition("[")[0]).metadata
    classifiers = [one.split(" :: ")[-1] for one in about.get_all("Classifier") or () if "License ::" in one]
    said = _one(about, "License-Expression") or ", ".join(classifiers) or _one(about, "License") or "not said"
    return said.splitlines()[0][:60]


def _one(about: Any, key: str) -> str:
    return next(iter(about.get_all(key) or ()), "")


def megabytes(packages: Iterable[str], *, beside: str = "ragqa") -> float:
    """Return the size of packages and of all they ask for, without what `beside` brings already."""
    there = closure(beside)
    wanted: dict[str, Distribution] = {}
    for package in packages:
        name, _, extras = package.rstrip("]").partition("[")
        for extra in ("", *filter(None, extras.split(","))):
            wanted |= closure(name, extra)
    files = (
        Path(str(file.locate()))
        for name, found in wanted.items()
        if name not in there
        for file in found.files or ()
    )
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file()) / 1e6
