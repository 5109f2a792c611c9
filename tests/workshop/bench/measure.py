"""Timing in pairs, the machine, and the peak memory of whole processes."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

SETTLE_S = 0.05
# Runs its arguments, silently, and prints the peak memory that they took.
_WATCH = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""

Unit = Literal["ms", "s", "/s", "bytes"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a work done by ragqa and by a peer in the same run.

    `ratio` is how many times better ragqa is (the median over pairs, for times); `reach` is what was to
    be reached, and `reached` whether it was: None where nothing was asked.
    """

    work: str
    ours: float
    unit: Unit
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    reach: str = ""
    reached: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Seconds that each side took in each of several pairs of runs."""

    ours: list[float]
    theirs: list[float]

    @property
    def ours_s(self) -> float:
        return statistics.median(self.ours)

    @property
    def theirs_s(self) -> float:
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """How many times faster ours is: the median of the pairs' ratios."""
        return statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))

    def row(self, work: str, peer: str, reach: str = "", reached: bool | None = None) -> Row:
        """Return the line of the table that says these times."""
        return Row(
            work=work,
            ours=self.ours_s * 1000,
            unit="ms",
            peer=peer,
            theirs=self.theirs_s * 1000,
            ratio=self.ratio,
            reach=reach,
            reached=reached,
        )


def paired(ours: Callable[[int], object], theirs: Callable[[int], object], pairs: int) -> Pairs:
    """Run both in turn, after a warm-up of each; both are told the number of the pair, from 0."""
    times = Pairs([], [])
    for number in range(-1, pairs):
        for action, kept in ((ours, times.ours), (theirs, times.theirs)):
            # Threads of the side before may go on spinning for a while.
            time.sleep(SETTLE_S)
            seconds = timed(partial(action, max(number, 0)))
            if number >= 0:
                kept.append(seconds)
    return times


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that `action` took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lie."""
    return float(np.quantile(list(values), share))


def python(code: str) -> list[str]:
    """Return the command line that runs `code`."""
    return [sys.executable, "-c", code]


def ragqa(*arguments: str) -> list[str]:
    """Return the command line of this ragqa."""
    return [str(Path(sys.executable).with_name("ragqa")), *arguments]


def process_s(command: Sequence[str]) -> float:
    """Return the seconds that a whole process takes; raises CalledProcessError when it fails."""
    return timed(lambda: subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL))


def peak_bytes(command: Sequence[str]) -> tuple[float, int]:
    """Return the seconds and the largest resident memory of a process; raises CalledProcessError.

    A process starts with the peak of the one that forked it, so that a small one stands in between.
    """
    start = time.perf_counter()
    done = subprocess.run([*python(_WATCH), *command], check=True, capture_output=True, text=True)
    # Linux counts in kibibytes, macOS in bytes.
    return time.perf_counter() - start, int(done.stdout) * (1 if platform.system() == "Darwin" else 1024)


def matmul_flops() -> float:
    """Return the floating point operations per second of a large float32 product, the best of five."""
    size = 2048
    square = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    return 2 * size**3 / min(timed(lambda: square @ square) for _ in range(5))
