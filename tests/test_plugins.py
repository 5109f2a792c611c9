"""A stage and a loader of somebody else's: the guide's examples, installed as packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Run

GUIDE = Path(__file__).parents[1] / "docs" / "extending.md"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "ragqa-newest"
version = "1.0"

[project.entry-points."ragqa.retrievers"]
newest = "ragqa_newest:Newest"

[tool.setuptools]
py-modules = ["ragqa_newest"]
"""


LOADER = PROJECT.replace("newest", "dwg").replace(
    '[project.entry-points."ragqa.retrievers"]\ndwg = "ragqa_dwg:Newest"',
    '[project.entry-points."ragqa.loaders"]\n".dwg" = "ragqa_dwg:read"',
)


def installed(name: str, project: str, folder: Path) -> dict[str, str]:
    """Install the guide's example of this name as a package, and return the environment that knows it."""
    (example,) = re.findall(rf"```python\n(# {name}\.py.*?)```", GUIDE.read_text(), re.DOTALL)
    source, site = folder / name, folder / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(project)
    (source / f"{name}.py").write_text(example)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*install, "--no-build-isolation", "--target", str(site), str(source)], check=True, timeout=120
    )
    return {"PYTHONPATH": str(site)}


def test_the_guides_loader_reads_its_kind(ragqa: Run, tmp_path: Path) -> None:
    env = installed("ragqa_dwg", LOADER, tmp_path)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mill.dwg").write_text("Plan of the mill\nThe wheel is of oak.")
    db = tmp_path / "c.db"
    assert "1 skipped" in ragqa("ingest", tmp_path / "plans", "--db", db).stdout
    assert "1 added" in ragqa("ingest", tmp_path / "plans", "--db", db, env=env).stdout
    assert "Plan of the mill" in ragqa("search", "oak", "-c", "fts", "--db", db).stdout


def test_the_guides_example_is_found_by_its_entry_point(db: Path, ragqa: Run, tmp_path: Path) -> None:
    with_plugin = installed("ragqa_newest", PROJECT, tmp_path)
    (tmp_path / "mine.yaml").write_text("retrieve: {type: newest}\nrerank: {type: colbert}")
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db, "-k", "2", env=with_plugin)
    assert result.returncode == 0, result.stderr
    assert "newest" in result.stdout
    assert "colbert" in result.stdout
    (tmp_path / "mine.yaml").write_text("retrieve: {type: newest, oldest: 1}")
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db, env=with_plugin)
    assert (result.returncode, "unknown key 'oldest'" in result.stderr) == (2, True)
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db)
    assert (result.returncode, "no retriever 'newest'" in result.stderr) == (2, True)
