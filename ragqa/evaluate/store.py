"""The file of runs: SQLite, a row for every question of every run, committed as soon as it is done."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ragqa.errors import BusyError, RagqaError, UsageError
from ragqa.evaluate.questions import QuestionSet
from ragqa.evaluate.rows import (
    QUESTION_COLUMNS,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    info_of,
    question_of,
    question_row,
    result_of,
    result_row,
)
from ragqa.evaluate.runs import Result, Run, RunInfo, RunKey
from ragqa.files import default_runs
from ragqa.sqlite_file import FileKind, shared_connection

if TYPE_CHECKING:
    from ragqa.evaluate.judge import Verdict

KIND = FileKind(
    application_id=0x72677172,  # "rgqr"
    version=1,
    stranger="{path} is a SQLite database, but no file of runs.",
    newer="The runs in {path} were written by a newer ragqa: upgrade.",
)
BUSY_TIMEOUT_S = 30.0


class RunStore:
    """An open file of runs. Results may be recorded from several threads. Use as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str | None = None, *, create: bool = False) -> Self:
        """Open the file at `path` (the user's own by default); with `create`, make it where there is none.

        Raises RagqaError when there is none, or when it is something else or a newer ragqa's.
        """
        path = Path(path).expanduser() if path else default_runs()
        if not path.exists() and not create:
            raise UsageError(f"There are no runs at {path} yet: ragqa eval run QUESTIONS makes some.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = shared_connection(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.OperationalError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RagqaError(f"The file of runs {path} cannot be opened: {reason}.") from error
        store = cls(path, connection)
        try:
            store._check()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        # Not under a thread that is recording.
        with self._lock:
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        try:
            KIND.check(self.path, self.connection, self._migrate)
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            raise RagqaError(f"The file of runs {self.path} cannot be used: {error}.") from error

    def _migrate(self) -> None:
        from filelock import FileLock, Timeout

        from ragqa.evaluate.schema import migrations

        # Two commands may begin a new file at once; whoever comes second finds nothing left to do.
        try:
            with FileLock(f"{self.path}.lock", timeout=BUSY_TIMEOUT_S):
                KIND.upgrade(self.connection, migrations)
        except Timeout as error:
            raise BusyError(
                f"Another process is making {self.path}. Try again when it has finished."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                self.connection.rollback()
                raise

    # -- writing ------------------------------------------------------------------------------

    def next_batch(self) -> int:
        """Return the number for the runs of one command."""
        (last,) = self.connection.execute("SELECT coalesce(max(batch), 0) FROM runs").fetchone()
        return int(last) + 1

    def begin(
        self,
        key: RunKey,
        question_set: QuestionSet,
        *,
        batch: int,
        name: str,
        config_name: str,
        corpus_path: str,
        index_bytes: int,
        device: str,
        environment: Mapping[str, Any],
        absent: Mapping[str, list[str]],
    ) -> int:
        """Note a new run, which has no results yet, and return its number."""
        with self._transaction() as connection:
            kept = _keep_questions(connection, question_set)
            row = {
                "batch": batch,
                "name": name,
                "created": _now(),
                "fingerprint": key.fingerprint,
                "question_set": kept,
                "config_name": config_name,
                "config": key.config,
                "config_hash": hashlib.sha256(key.config.encode()).hexdigest(),
                "corpus": key.corpus,
                "corpus_path": corpus_path,
                "model": key.model,
                "options": json.dumps(dict(key.options), sort_keys=True),
                "prompt": key.prompt,
                "depth": key.depth,
                "code_version": key.code_version,
                "device": device,
                "environment": json.dumps(dict(environment)),
                "index_bytes": index_bytes,
                "absent": json.dumps(dict(absent)),
            }
            return _insert(connection, "runs", row)

    def unfinished(self, key: RunKey) -> int | None:
        """Return the newest run with this key, or None: what it lacks can be added to it."""
        row = self.connection.execute(
            "SELECT id FROM runs WHERE fingerprint = ? ORDER BY id DESC LIMIT 1", [key.fingerprint]
        ).fetchone()
        return None if row is None else int(row[0])

    def join_batch(self, run: int, batch: int) -> None:
        """Make a run part of a newer batch: it is what the command that continues it asked for."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET batch = ? WHERE id = ?", [batch, run])

    def done(self, run: int) -> set[int]:
        """Return the places of the questions that need not be asked again."""
        rows = self.connection.execute("SELECT place FROM results WHERE run = ? AND status = 'done'", [run])
        return {row[0] for row in rows}

    def record(self, run: int, place: int, result: Result) -> None:
        """Keep one result, instead of an earlier one of the same question; it is on disk on return."""
        row = {"run": run, "place": place, "created": _now(), **result_row(result)}
        with self._transaction() as connection:
            _insert(connection, "results", row, replace=True)

    def record_verdict(self, run: int, other: int | None, judge: str, rubric: str, verdict: Verdict) -> None:
        """Keep one verdict, instead of an earlier one of the same judge on the same thing."""
        about = [run, other, judge, rubric, verdict.question, verdict.order]
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM verdicts WHERE run = ? AND other IS ? AND judge = ? AND rubric = ?"
                " AND place = ? AND shown = ?",
                about,
            )
            names = ("run", "other", "judge", "rubric", "place", "shown")
            row: dict[str, Any] = dict(zip(names, about, strict=True))
            row |= {
                "verdict": verdict.verdict,
                "grade": verdict.grade,
                "reason": verdict.reason,
                "failed": verdict.failed,
                "created": _now(),
            }
            _insert(connection, "verdicts", row)

    # -- reading ------------------------------------------------------------------------------

    def infos(self) -> list[RunInfo]:
        """Return all runs, oldest first."""
        rows = self.connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY id").fetchall()
        sets = dict(self.connection.execute("SELECT id, fingerprint FROM question_sets").fetchall())
        return [info_of(row, sets[row[4]]) for row in rows]

    def counts(self) -> dict[int, tuple[int, int, int]]:
        """Return, by run: questions done, failed, and in the set."""
        rows = self.connection.execute(
            "SELECT r.id, (SELECT count(*) FROM results WHERE run = r.id AND status = 'done'),"
            " (SELECT count(*) FROM results WHERE run = r.id AND status = 'failed'),"
            " (SELECT count(*) FROM questions WHERE question_set = r.question_set) FROM runs r"
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def question_set_names(self) -> dict[str, str]:
        """Return the names of the question sets by their fingerprints."""
        return dict(self.connection.execute("SELECT fingerprint, name FROM question_sets").fetchall())

    def find(self, names: Sequence[str] = ()) -> list[Run]:
        """Return the runs that are called by number or name (the newest of that name).

        Without names, the runs of the last batch. Raises UsageError for one that is not there.
        """
        infos = self.infos()
        if not infos:
            raise UsageError(f"There are no runs in {self.path} yet: ragqa eval run QUESTIONS makes some.")
        if not names:
            last = max(info.batch for info in infos)
            return [self.run(info) for info in infos if info.batch == last]
        found: list[RunInfo] = []
        for name in dict.fromkeys(names):
            matching = [info for info in infos if name in (str(info.id), info.name)]
            if not matching:
                known = ", ".join(f"{info.id} ({info.name})" for info in infos[-10:])
                raise UsageError(f"There is no run {name!r} in {self.path}. The last ones: {known}.")
            if matching[-1] not in found:
                found.append(matching[-1])
        return [self.run(info) for info in found]

    def run(self, info: RunInfo) -> Run:
        """Return a run with its questions and results."""
        rows = self.connection.execute(
            f"SELECT {RESULT_COLUMNS} FROM results WHERE run = ? ORDER BY place", [info.id]
        )
        grades: dict[str, dict[int, float]] = {}
        verdicts = self.connection.execute(
            "SELECT judge, place, avg(grade) FROM verdicts WHERE run = ? AND other IS NULL"
            " AND grade IS NOT NULL GROUP BY judge, place ORDER BY max(id), place",
            [info.id],
        )
        for judge, place, grade in verdicts:
            grades.setdefault(judge, {})[place] = grade
        results = {row[0]: result_of(row) for row in rows}
        return Run(info, self._questions(info.key.question_set), results, grades)

    def verdicts(self, run: int, other: int | None, judge: str, rubric: str) -> list[Verdict]:
        """Return the verdicts of one judge on one run, or on a pair."""
        from ragqa.evaluate.judge import Verdict

        rows = self.connection.execute(
            "SELECT place, shown, verdict, grade, reason, failed FROM verdicts"
            " WHERE run = ? AND other IS ? AND judge = ? AND rubric = ? ORDER BY place, shown",
            [run, other, judge, rubric],
        )
        return [Verdict(*row) for row in rows]

    def _questions(self, fingerprint: str) -> QuestionSet:
        number, name = self.connection.execute(
            "SELECT id, name FROM question_sets WHERE fingerprint = ?", [fingerprint]
        ).fetchone()
        rows = self.connection.execute(
            f"SELECT {QUESTION_COLUMNS} FROM questions WHERE question_set = ? ORDER BY place",
            [number],
        )
        return QuestionSet(name, tuple(map(question_of, rows)))


def _keep_questions(connection: sqlite3.Connection, question_set: QuestionSet) -> int:
    """Return the key of the set, stored if it was not."""
    known = connection.execute(
        "SELECT id FROM question_sets WHERE fingerprint = ?", [question_set.fingerprint]
    ).fetchone()
    if known:
        return int(known[0])
    row = {"fingerprint": question_set.fingerprint, "name": question_set.name}
    number = _insert(connection, "question_sets", row)
    connection.executemany(
        "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, place, *question_row(question)) for place, question in enumerate(question_set.questions)],
    )
    return number


def _insert(
    connection: sqlite3.Connection, table: str, row: Mapping[str, Any], *, replace: bool = False
) -> int:
    marks = ", ".join("?" * len(row))
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    cursor = connection.execute(
        f"{verb} INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
    )
    return int(cursor.lastrowid or 0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
