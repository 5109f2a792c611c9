"""A first stage of somebody else's: the guide's example, installed as a package and used by name."""

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


def test_the_guides_example_is_found_by_its_entry_point(db: Path, ragqa: Run, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(# ragqa_newest\.py.*?)```", GUIDE.read_text(), re.DOTALL)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "ragqa_newest.py").write_text(example)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*install, "--no-build-isolation", "--target", str(site), str(project)], check=True, timeout=120
    )
    (tmp_path / "mine.yaml").write_text("retrieve: {type: newest}\nrerank: {type: colbert}")
    with_plugin = {"PYTHONPATH": str(site)}
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db, "-k", "2", env=with_plugin)
    assert result.returncode == 0, result.stderr
    assert "newest" in result.stdout
    assert "colbert" in result.stdout
    (tmp_path / "mine.yaml").write_text("retrieve: {type: newest, oldest: 1}")
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db, env=with_plugin)
    assert (result.returncode, "unknown key 'oldest'" in result.stderr) == (2, True)
    result = ragqa("search", "tea", "-c", "./mine.yaml", "--db", db)
    assert (result.returncode, "no retriever 'newest'" in result.stderr) == (2, True)
