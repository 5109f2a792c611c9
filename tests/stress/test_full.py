"""A disk that is full, and one that cannot be written to."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragqa.corpus.database import Corpus
from tests.stress.kills import INGEST
from tests.stress.material import CHILD, Yard
from tests.stress.state import copied, faults, read_state

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("yard"), notes=12)


def run_limited(yard: Yard, *args: str, size: int) -> subprocess.CompletedProcess[str]:
    """Run a command none of whose files may grow beyond `size` bytes."""
    return subprocess.run(
        [sys.executable, "-c", CHILD, *args],
        cwd=yard.work,
        env=yard.env,
        text=True,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def mounted(kind: list[str], folder: Path) -> Iterator[Path]:
    """Mount something at `folder` while a test runs; skips where that is not permitted."""
    folder.mkdir(exist_ok=True)
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", *kind, str(folder)], capture_output=True).returncode
    ):
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(["-t", "tmpfs", "-o", "size=4m", "tmpfs"], tmp_path / "small")


def check_sentence(code: int, said: str) -> None:
    assert code == 1, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("Error: ")


def test_ingest_where_no_file_may_grow_says_so_and_leaves_a_valid_file(yard: Yard) -> None:
    yard.restore("empty")
    done = run_limited(yard, *INGEST, size=60_000)
    check_sentence(done.returncode, done.stderr)
    assert faults(copied(yard.work / "c.db", yard.root / "copy"), "fts") == []
    yard.must(*INGEST)
    assert len(read_state(yard.work / "c.db").documents) == len(yard.notes)


def test_index_where_no_file_may_grow_says_so_and_leaves_a_valid_file(yard: Yard) -> None:
    yard.restore("ingested")
    size = (yard.work / "c.db").stat().st_size + 4096
    done = run_limited(yard, "index", "-c", "exact.yaml", "--db", "c.db", size=size)
    check_sentence(done.returncode, done.stderr)
    assert faults(copied(yard.work / "c.db", yard.root / "copy"), "fts") == []


@pytest.mark.parametrize("command", ["ingest", "index"])
def test_a_full_disk_is_told_and_leaves_a_valid_file(yard: Yard, small_disk: Path, command: str) -> None:
    yard.restore("empty" if command == "ingest" else "ingested")
    db = small_disk / "c.db"
    if command == "index":
        shutil.copy(yard.work / "c.db", db)
    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 48 * 1024))
    args = INGEST[:-1] if command == "ingest" else ("index", "-c", "exact.yaml", "--db")
    code, said = yard.run(*args, str(db))
    check_sentence(code, said)
    assert "full" in said
    assert faults(copied(db, yard.root / "copy"), "fts") == []
    # With room, the same command goes on.
    (small_disk / "ballast").unlink()
    yard.must(*args, str(db))
    assert faults(copied(db, yard.root / "copy"), "fts") == []


def test_a_corpus_on_a_read_only_disk_is_asked(yard: Yard, tmp_path: Path) -> None:
    yard.restore("indexed")
    shutil.copytree(yard.work, tmp_path / "there")
    for folder in mounted(["--bind", "-o", "ro", str(tmp_path / "there")], tmp_path / "read-only"):
        with pytest.raises(OSError, match="Read-only"):
            (folder / "new").touch()
        db = str(folder / "c.db")
        for args in (("search", yard.notes[0]["title"]), ("ask", yard.notes[0]["title"], "-m", "extractive")):
            code, said = yard.run(*args, "--db", db)
            assert code == 0, said
        code, said = yard.run("remove", yard.notes[0]["slug"], "--db", db)
        check_sentence(code, said)
        assert "read-only" in said


def test_a_corpus_in_a_frozen_folder_is_asked(yard: Yard, tmp_path: Path) -> None:
    """Immutable files, which even root may not write; what a killed command left in its log is read, too."""
    yard.restore("indexed")
    frozen = tmp_path / "frozen"
    shutil.copytree(yard.work, frozen)
    if not shutil.which("chattr") or subprocess.run(["chattr", "+i", frozen / "c.db", frozen]).returncode:
        pytest.skip("nothing may be made immutable here")
    try:
        with Corpus.open(frozen / "c.db") as corpus:
            assert not corpus.writable
        code, said = yard.run("search", yard.notes[0]["title"], "--db", str(frozen / "c.db"))
        assert code == 0, said
    finally:
        subprocess.run(["chattr", "-i", frozen, frozen / "c.db"], check=True)
