"""Processes that ask a corpus or a dataset side by side: `python -m tests.workshop.scale.readers`.

Each one reads a line of JSON, says that it is ready after some questions to warm up, and begins when it is
told to, so that all of them ask at the same time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragqa.config import Config, parse_config
from ragqa.pipeline import Pipeline

WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Reading:
    """What readers measured: milliseconds of each question, the largest memory of one, seconds in all."""

    times_ms: list[float]
    peak_bytes: int
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.times_ms) / self.seconds


def read_side_by_side(
    config: dict[str, Any], db: str | None, questions: Sequence[str], readers: int
) -> Reading:
    """Ask all questions in each of so many processes at once; raises CalledProcessError when one fails."""
    work = json.dumps({"config": config, "db": db, "questions": list(questions)})
    command = [sys.executable, "-m", "tests.workshop.scale.readers"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(readers)
    ]
    for process in processes:
        _tell(process, work)
    for process in processes:
        _hear(process)
    begun = time.perf_counter()
    for process in processes:
        _tell(process, "go")
    found = [json.loads(_hear(process)) for process in processes]
    seconds = time.perf_counter() - begun
    for process in processes:
        process.communicate()
    times = [time for each in found for time in each["times_ms"]]
    return Reading(times, max(each["peak"] for each in found), seconds)


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise subprocess.CalledProcessError(process.wait(), process.args)
    return line


def main() -> None:
    """Ask the questions that stdin names, and print how long each took."""
    work = json.loads(sys.stdin.readline())
    config: Config = parse_config(work["config"], "scale")
    with Pipeline.from_config(config, work["db"]) as pipeline:
        for question in work["questions"][:WARM_UP]:
            pipeline.search(question)
        print("ready", flush=True)
        sys.stdin.readline()
        times = []
        for question in work["questions"]:
            begun = time.perf_counter()
            pipeline.search(question)
            times.append(1000 * (time.perf_counter() - begun))
    print(json.dumps({"times_ms": times, "peak": _peak()}), flush=True)


def _peak() -> int:
    """Return the largest resident memory that this program took, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says includes the process that forked this one.
        return 1024 * next(
            int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
