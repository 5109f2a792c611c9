"""What the stress tools work on: a few dozen notes, corpora in several states, and the command to run."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ragqa.corpus.schema import migrations
from tests.conftest import EXTENSIONS, SHARED

ROOT = Path(__file__).parents[2]
# The command line, with many small transactions where a user would have a few.
CHILD = (
    "import ragqa.index.passage_store as derived, ragqa.corpus.ingest as ingest\n"
    "derived.COMMIT_EVERY, ingest.COMMIT_EVERY_S = 16, 0.01\n"
    "from ragqa.cli.app import main\n"
    "main()\n"
)
FIELDS = ("--id", "slug", "--title", "title", "--text", "body")


class Yard:
    """A folder with corpora to start from; every run takes place in `work`, since paths are kept in them."""

    def __init__(self, root: Path, notes: int = 24) -> None:
        self.root = root
        self.work = root / "work"
        self.notes = _notes(notes)
        self.env = {
            **os.environ,
            "HOME": str(root / "home"),
            "LLM_USER_PATH": str(root / "home" / "llm"),
            "XDG_DATA_HOME": str(root / "home" / "data"),
            "XDG_CACHE_HOME": str(root / "home" / "cache"),
            "TORCH_EXTENSIONS_DIR": EXTENSIONS,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        (root / "home").mkdir(parents=True, exist_ok=True)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command in `work`, with what it prints in a pipe."""
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, *args],
            cwd=self.work,
            env=self.env,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *args: str) -> tuple[int, str]:
        """Run a command in `work`; return its exit code and what it said on stderr."""
        process = self.start(*args)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    def must(self, *args: str) -> None:
        code, said = self.run(*args)
        if code:
            raise RuntimeError(f"ragqa {' '.join(args)} ended with {code}: {said}")

    def restore(self, base: str) -> None:
        """Make `work` what it was when `base` was kept; builds that first."""
        if not (self.root / base).exists():
            getattr(self, f"_make_{base}")()
            shutil.copytree(self.work, self.root / base)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.root / base, self.work)

    # -- what there is to start from ------------------------------------------------------------

    def _make_empty(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        _write(self.work / "notes.ndjson", self.notes)
        questions = [{"id": f"q{n}", "question": note["title"]} for n, note in enumerate(self.notes)]
        _write(self.work / "questions.jsonl", questions)
        # In one number format, so that a vector is the same however many are made at a time.
        shipped = ROOT / "configs" / "default.yaml"
        exact = shipped.read_text(encoding="utf-8") + "dtype: float32\n"
        (self.work / "exact.yaml").write_text(exact, encoding="utf-8")
        # However few passages there are.
        plaid = (ROOT / "configs" / "colbert-plaid.yaml").read_text(encoding="utf-8") + "  exact_below: 0\n"
        (self.work / "plaid.yaml").write_text(plaid, encoding="utf-8")
        small = "retrieve:\n  type: fts\nchunk:\n  tokens: 60\n  overlap: 10\n"
        (self.work / "small.yaml").write_text(small, encoding="utf-8")

    def _make_ingested(self) -> None:
        self.restore("empty")
        self.must("ingest", "notes.ndjson", *FIELDS, "--db", "c.db")

    def _make_indexed(self) -> None:
        self.restore("ingested")
        self.must("index", "-c", "exact.yaml", "--db", "c.db")

    def _make_changed(self) -> None:
        """A third of the notes gone, one changed, one as it was; and as many new ones."""
        self.restore("indexed")
        third = len(self.notes) // 3
        changed = [{**note, "body": f"{note['body']}\n\nChanged."} for note in self.notes[:third]]
        new = [{**note, "slug": f"new-{note['slug']}"} for note in self.notes[-third:]]
        _write(self.work / "notes.ndjson", [*changed, *self.notes[third:-third], *new])

    def _make_old(self) -> None:
        """A file as the first version made it, with documents."""
        self.restore("ingested")
        with closing(sqlite3.connect(self.work / "c.db")) as connection:
            connection.executescript(
                "DROP TABLE dense_vectors; ALTER TABLE token_vectors DROP COLUMN members;"
                f"DELETE FROM {migrations.migrations_table} WHERE name != 'm001_corpus';"
                "PRAGMA user_version = 1;"
            )


def _notes(count: int) -> list[dict[str, str]]:
    path = SHARED / "til.ndjson"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if 200 < len(row["body"]) < 1000]
        return [{name: row[name] for name in ("slug", "title", "body")} for row in rows[:count]]
    return [
        {
            "slug": f"note-{n}",
            "title": f"Screenshot number {n} of a web page",
            "body": "\n\n".join(
                f"## Part {part}\n\nStep {part} of note {n}. " * 8 for part in range(1 + n % 7)
            ),
        }
        for n in range(count)
    ]


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
