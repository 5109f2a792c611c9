"""The tables of the file of runs and the migrations that made them."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("ragqa-runs")


@migrations()
def m001_runs(db: Database) -> None:
    """Question sets, runs, their results, and the verdicts of judges."""
    for statement in _M001:
        db.execute(statement)


_M001 = (
    """CREATE TABLE question_sets (
        id INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL
    )""",
    """CREATE TABLE questions (
        question_set INTEGER NOT NULL REFERENCES question_sets (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        id TEXT NOT NULL,
        question TEXT NOT NULL,
        type TEXT NOT NULL,
        unanswerable INTEGER NOT NULL,
        relevant TEXT NOT NULL,
        golden_answers TEXT NOT NULL,
        PRIMARY KEY (question_set, place)
    )""",
    # A batch is what one command asked for. The key's columns are what a run can be continued by.
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        batch INTEGER NOT NULL,
        name TEXT NOT NULL,
        created TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        question_set INTEGER NOT NULL REFERENCES question_sets (id),
        config_name TEXT NOT NULL,
        config TEXT NOT NULL,
        config_hash TEXT NOT NULL,
        corpus TEXT NOT NULL,
        corpus_path TEXT NOT NULL,
        model TEXT,
        options TEXT NOT NULL,
        prompt TEXT NOT NULL,
        depth INTEGER NOT NULL,
        code_version TEXT NOT NULL,
        device TEXT NOT NULL,
        environment TEXT NOT NULL,
        index_bytes INTEGER NOT NULL,
        absent TEXT NOT NULL
    )""",
    "CREATE INDEX runs_fingerprint ON runs (fingerprint)",
    """CREATE TABLE results (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        created TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
        reason TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        ranking TEXT NOT NULL,
        timings_ms TEXT NOT NULL,
        answer TEXT,
        refused INTEGER,
        cited TEXT,
        context TEXT,
        context_tokens INTEGER,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cost REAL,
        PRIMARY KEY (run, place)
    )""",
    # `other` is the run that an answer was compared with, `shown` the order or the number of the try.
    """CREATE TABLE verdicts (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        other INTEGER REFERENCES runs (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        judge TEXT NOT NULL,
        rubric TEXT NOT NULL,
        shown INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        grade REAL,
        reason TEXT NOT NULL,
        failed TEXT NOT NULL,
        created TEXT NOT NULL
    )""",
    "CREATE INDEX verdicts_run ON verdicts (run, judge)",
)
