"""Bad input of every kind: a result or a RagqaError in bounded time and memory, and never anything else.

    python -m tests.stress.fuzz [--cases 21000] [--seed 0] [--only NAME]

prints how many cases each target had, in what time, the slowest of them, and what was found.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from ragqa.errors import RagqaError
from ragqa.sources.text import UnreadableError

# What a case may take on a quiet machine, and what is reported as a hang.
SLOW_S = 5.0
# What all cases together may add to the memory of the process, in MB: models, caches, the largest case.
MOST_MB = 1_500


class HangError(BaseException):
    """A case that took too long; no `except Exception` on the way may swallow it."""


@dataclass
class Target:
    """One place where input comes in: a strategy of cases, and what is done with one."""

    name: str
    share: float
    cases: SearchStrategy[Any]
    run: Callable[[Any], object]
    done: int = 0
    refused: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def try_one(self, case: Any) -> None:
        """Run one case; raises whatever is no result and no sentence."""
        self.done += 1
        start = time.perf_counter()
        try:
            with limited(SLOW_S):
                self.run(case)
        except (RagqaError, UnreadableError) as error:
            self.refused += 1
            if not str(error).strip():
                raise TypeError("an error without a sentence") from error
        finally:
            self.slowest = max(self.slowest, time.perf_counter() - start)

    def try_many(self, cases: int, number: int) -> None:
        """Run so many cases; what goes wrong is shrunk and kept in `findings`."""

        @seed(number)
        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
            print_blob=False,
        )
        @given(self.cases)
        def test(case: Any) -> None:
            self.try_one(case)

        start = time.perf_counter()
        try:
            test()
        except (Exception, HangError) as error:
            self.findings.append("".join(traceback.format_exception(error))[-3_000:])
        self.seconds = time.perf_counter() - start


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise HangError within the block when it takes longer; in code of C only once that is over."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise HangError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description="Bad input of every kind.")
    parser.add_argument("--cases", type=int, default=21_000, help="in all, shared among the targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the name of one target, which gets all cases")
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(HOME=name, XDG_DATA_HOME=f"{name}/data", LLM_USER_PATH=f"{name}/llm")
        from tests.stress.targets import targets

        chosen = [target for target in targets(Path(name)) if options.only in ("", target.name)]
        total = sum(target.share for target in chosen)
        before = peak_mb()
        print(f"{'target':<16}{'cases':>8}{'refused':>9}{'seconds':>9}{'slowest':>9}")
        for target in chosen:
            target.try_many(max(1, round(options.cases * target.share / total)), options.seed)
            print(
                f"{target.name:<16}{target.done:>8,}{target.refused:>9,}{target.seconds:>9.1f}"
                f"{target.slowest:>9.2f}{'  FOUND' if target.findings else ''}",
                flush=True,
            )
    grown = peak_mb() - before
    findings = [finding for target in chosen for finding in target.findings]
    done, seconds = sum(t.done for t in chosen), sum(t.seconds for t in chosen)
    print(f"{done:,} cases in {seconds:,.0f} s, {len(findings)} findings, {grown:,.0f} MB more at the peak")
    for finding in findings:
        print(f"\n{finding}", file=sys.stderr)
    return 1 if findings or grown > MOST_MB else 0


if __name__ == "__main__":
    sys.exit(main())
