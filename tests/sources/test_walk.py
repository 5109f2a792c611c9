"""Which files of a folder are read, and that none is left out in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragqa.errors import UsageError
from ragqa.sources import Choice
from ragqa.sources.walk import OUTSIDE, walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        "a.md", "drafts/b.md", "drafts/keep.md", "drafts/deep/c.md", "build/out.html", "notes.log",
        ".git/config", ".hidden.md", "node_modules/x/README.md", "env/lib/site.py", "big.txt",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x" * (5_000 if name == "big.txt" else 10))
    (root / "env" / "pyvenv.cfg").write_text("")
    return root


def names(root: Path, choice: Choice | None = None) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk(root, choice).paths]


def test_what_is_hidden_or_made_by_programs_is_left_out_and_counted(tree: Path) -> None:
    found = walk(tree)
    assert names(tree) == [
        "a.md", "big.txt", "notes.log", "build/out.html", "drafts/b.md", "drafts/keep.md", "drafts/deep/c.md",
    ]  # fmt: skip
    assert found.left_out == {"hidden": 2, "node_modules": 1, "env": 1}


def test_gitignore_is_obeyed_as_git_does(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\n/build/\ndrafts/*\n!drafts/keep.md\n")
    (tree / "drafts" / ".ragqaignore").write_text("!b.md\n")
    assert names(tree) == ["a.md", "big.txt", "drafts/b.md", "drafts/keep.md"]
    assert walk(tree).left_out["ignored"] == 3


def test_a_line_that_is_no_pattern_makes_no_other_void(tree: Path) -> None:
    (tree / ".gitignore").write_text("!\n*.log\n")
    assert "notes.log" not in names(tree)


def test_files_are_chosen_by_globs_and_size(tree: Path) -> None:
    assert names(tree, Choice(include=("*.md",))) == [
        "a.md",
        "drafts/b.md",
        "drafts/keep.md",
        "drafts/deep/c.md",
    ]
    assert names(tree, Choice(exclude=("drafts/", "*.html"))) == ["a.md", "big.txt", "notes.log"]
    found = walk(tree, Choice(max_bytes=1000))
    assert "big.txt" not in {path.name for path in found.paths}
    assert found.left_out["--max-size"] == 1
    with pytest.raises(UsageError, match="pattern"):
        walk(tree, Choice(exclude=("!",)))


def test_a_link_that_leads_out_is_named_and_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "passwords.md").write_text("secret")
    (tree / "x.md").symlink_to(tmp_path / "secret" / "passwords.md")
    (tree / "folder").symlink_to(tmp_path / "secret")
    (tree / "inside.md").symlink_to(tree / "a.md")
    (tree / "loop").symlink_to(tree)
    found = walk(tree)
    assert {item.name: item.reason for item in found.skipped} == {"x.md": OUTSIDE, "folder": OUTSIDE}
    assert "inside.md" in names(tree)
    assert not any("passwords" in name or name.startswith("loop") for name in names(tree))
    followed = names(tree, Choice(follow_links=True))
    assert {"x.md", "folder/passwords.md"} <= set(followed)
    assert not any(name.startswith("loop") for name in followed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(tree: Path) -> None:
    (tree / "drafts").chmod(0)
    assert [item.name for item in walk(tree).skipped] == ["drafts"]
    (tree / "drafts").chmod(0o755)
