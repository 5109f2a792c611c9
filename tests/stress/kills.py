"""Kill commands at random moments, and see whether anything is lost: `python -m tests.stress.kills`."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.stress.material import FIELDS, Yard
from tests.stress.state import State, copied, database_faults, faults, read_runs, read_state

INGEST = ("ingest", "notes.ndjson", *FIELDS, "--db", "c.db")
EVAL = ("eval", "run", "questions.jsonl", "-c", "fts", "-c", "default", "-m", "extractive", "--resume")


@dataclass(frozen=True, slots=True)
class Case:
    """A command to kill, what it starts from, and how often it is killed, relative to the others."""

    name: str
    base: str
    args: tuple[str, ...]
    weight: int = 1
    # A rerun may be refused where the killed command had done all: there is nothing left to remove.
    refuses: str | None = None


CASES = (
    Case("ingest", "empty", INGEST, 3),
    Case("ingest --prune", "changed", (*INGEST, "--prune"), 3),
    Case("index", "ingested", ("index", "-c", "exact.yaml", "--db", "c.db"), 3),
    Case("index --rechunk", "indexed", ("index", "-c", "small.yaml", "--rechunk", "--db", "c.db"), 2),
    Case("remove", "indexed", ("remove", "--db", "c.db"), 2, refuses="There is no document"),
    Case("migration", "old", ("status", "--db", "c.db"), 2),
    Case("eval run", "indexed", (*EVAL, "--runs", "runs.db", "--db", "c.db"), 3),
)
PLAID = Case("index, PLAID", "indexed", ("index", "-c", "plaid.yaml", "--db", "c.db"))


@dataclass
class Outcome:
    """What became of one case: kills by when they fell, and what was wrong after them."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def killed(self) -> int:
        return self.kills["before"] + self.kills["amid"]


@dataclass(frozen=True, slots=True)
class End:
    """What an undisturbed run leaves, how long it takes, and when it begins to write."""

    corpus: State
    runs: list[tuple[object, ...]]
    seconds: float
    writes_after: float


class Harness:
    """Kills one case's command over and over, each time from the same start."""

    def __init__(self, yard: Yard, case: Case) -> None:
        self.yard = yard
        self.case = case
        self.corpus = yard.work / "c.db"
        self.runs = yard.work / "runs.db"
        self.args = list(case.args)
        if case.name == "remove":
            self.args[1:1] = [note["slug"] for note in yard.notes[::2]]
        self.outcome = Outcome()
        # Twice: the first one finds nothing in the caches.
        self._undisturbed()
        self.end = self._undisturbed()

    def _undisturbed(self) -> End:
        self.yard.restore(self.case.base)
        before = _traces(self.yard.work)
        started = time.monotonic()
        writes_after = None
        process = self.yard.start(*self.args)
        while process.poll() is None:
            if writes_after is None and _traces(self.yard.work) != before:
                writes_after = time.monotonic() - started
            time.sleep(0.002)
        seconds = time.monotonic() - started
        said = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(f"{self.case.name} ended with {process.returncode}: {said}")
        runs = read_runs(self.runs) if self.runs.exists() else []
        end = End(read_state(self.corpus), runs, seconds, writes_after or 0.0)
        self._check("undisturbed", "default")
        return end

    def kill(self, dice: random.Random) -> bool:
        """Kill the command once, rerun it, and note what is wrong; tell whether it was still running."""
        started = time.monotonic()
        self.yard.restore(self.case.base)
        process = self.yard.start(*self.args)
        # Most of a command is Python starting: three of four kills wait until something is written.
        if dice.random() < 0.25:
            delay = dice.uniform(0, self.end.seconds)
        else:
            delay = dice.uniform(0, self.end.seconds - self.end.writes_after)
            before = _traces(self.yard.root / self.case.base)
            while process.poll() is None and _traces(self.yard.work) == before:
                time.sleep(0.002)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        when = f"{self.case.name}, killed after {time.monotonic() - started:.3f} s"
        if process.returncode != -signal.SIGKILL:
            self.outcome.kills["too late"] += 1
        else:
            written = _traces(self.yard.work) != _traces(self.yard.root / self.case.base)
            self.outcome.kills["amid" if written else "before"] += 1
        # `default` makes the vectors that it lacks, which takes its time: `fts` answers in between.
        config = "default" if self.outcome.kills.total() % 4 == 1 else "fts"
        self._look(when, config)
        self._rerun(when, config)
        self.outcome.seconds += time.monotonic() - started
        return process.returncode == -signal.SIGKILL

    def _look(self, when: str, config: str) -> None:
        if self.corpus.exists():
            self._check(when, config)
        if self.runs.exists():
            copy = copied(self.runs, self.yard.root / "copy")
            self._note(when, database_faults(copy))

    def _rerun(self, when: str, config: str) -> None:
        code, said = self.yard.run(*self.args)
        refused = self.case.refuses and self.case.refuses in said
        if code and not refused:
            self._note(when, [f"the rerun ended with {code}: {said.strip()[-300:]}"])
            return
        self._check(f"{when} and rerun", config)
        self._note(f"{when} and rerun", self.end.corpus.differences(read_state(self.corpus)))
        if self.end.runs:
            self._note(f"{when} and rerun", database_faults(self.runs))
            if read_runs(self.runs) != self.end.runs:
                self._note(f"{when} and rerun", ["other results than an undisturbed run's"])
        self._note(f"{when} and rerun", self._leftovers())

    def _leftovers(self) -> list[str]:
        """Return what lies about that nobody will use."""
        indexes = self.yard.work / "c.db.plaid" / "colbert" / "indexes"
        folders = len(list(indexes.iterdir())) if indexes.exists() else 0
        partial = [path.name for path in self.yard.work.iterdir() if path.name.endswith(".part")]
        return [f"{folders} PLAID indexes"] * (folders > 1) + [f"{name} is left" for name in partial]

    def _check(self, when: str, config: str) -> None:
        """Check a copy of the corpus: looking at it may mend it."""
        self._note(when, faults(copied(self.corpus, self.yard.root / "copy"), config))

    def _note(self, when: str, found: Sequence[str]) -> None:
        for fault in found:
            self.outcome.faults.append(f"{when}: {fault}")
            print(f"FAULT {when}: {fault}", file=sys.stderr, flush=True)


def _traces(folder: Path) -> set[tuple[str, int, int]]:
    """Return what shows that something was written: names, sizes and, of the databases, the first page."""
    found = set()
    for path in folder.iterdir():
        try:
            if not path.name.endswith((".lock", "-shm")) and (path.is_dir() or path.stat().st_size):
                with open(path, "rb") if path.is_file() else open(os.devnull, "rb") as file:
                    found.add((path.name, path.stat().st_size, hash(file.read(100))))
        except FileNotFoundError:
            continue
    return found


def kill(case: Case, yard: Yard, kills: int, seeds: Sequence[int]) -> Outcome:
    """Kill the command of `case` `kills` times, in turn with the dice of each seed."""
    harness = Harness(yard, case)
    dice = [random.Random(f"{seed} {case.name}") for seed in seeds]
    done = tries = 0
    while done < kills and tries < 3 * kills:
        done += harness.kill(dice[tries % len(dice)])
        tries += 1
    return harness.outcome


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=110, help="of all commands but PLAID's, in all")
    parser.add_argument("--plaid", type=int, default=3, help="kills of the slow PLAID build")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--notes", type=int, default=40)
    parser.add_argument("--only", help="the case with this name")
    options = parser.parse_args(argv)
    weights = sum(case.weight for case in CASES)
    cases = [(case, max(1, round(options.kills * case.weight / weights))) for case in CASES]
    cases += [(PLAID, options.plaid)] if options.plaid else []
    total, wrong, started = 0, 0, time.monotonic()
    with TemporaryDirectory(prefix="ragqa-kills-") as folder:
        yard = Yard(Path(folder), options.notes)
        for case, kills in cases:
            if options.only not in (None, case.name):
                continue
            outcome = kill(case, yard, kills, options.seeds)
            total, wrong = total + outcome.killed, wrong + len(outcome.faults)
            print(
                f"{case.name:<16} {outcome.killed:>4} kills: {outcome.kills['before']} before it wrote, "
                f"{outcome.kills['amid']} amid; {outcome.kills['too late']} came too late; "
                f"{len(outcome.faults)} faults; {outcome.seconds:,.0f} s",
                flush=True,
            )
    seconds = time.monotonic() - started
    print(f"{total} kills over seeds {options.seeds}, {wrong} faults, {seconds:,.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
