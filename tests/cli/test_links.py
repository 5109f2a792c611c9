"""Sources as links on a terminal: nothing of a document ends the link or commands the terminal."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ragqa.cli.links import EDITOR, address_of, linked
from ragqa.types import Passage, Place


@pytest.fixture
def passage(tmp_path: Path) -> Passage:
    path = tmp_path / "my notes.md"
    path.write_text("Words.")
    return Passage(1, "my notes.md", 0, 0, 6, "Notes", (), "Words.", str(path), {}, Place("line", "", 41, 43))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_file_is_opened_at_its_page_or_in_an_editor_at_its_line(
    passage: Passage, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of(passage)
    assert address == Path(passage.source).as_uri()
    assert address is not None
    assert "my%20notes.md" in address
    paged = replace(passage, place=Place("page", "12"))
    assert address_of(paged) == f"{address}#page=12"
    monkeypatch.setenv(EDITOR, "vscode://file{path}:{line}")
    assert address_of(passage) == f"vscode://file{address.removeprefix('file://')}:41"
    assert address_of(replace(passage, source="https://example.com/a")) == "https://example.com/a"
    assert address_of(replace(passage, source="gone.md")) is None
    assert address_of(replace(passage, source="a\0b")) is None


def test_a_terminal_gets_a_link_and_a_pipe_gets_none(passage: Passage, terminal: None) -> None:
    shown = linked("[1] Notes", passage)
    assert shown == f"\x1b]8;;{address_of(passage)}\x1b\\[1] Notes\x1b]8;;\x1b\\"
    hostile = replace(passage, source="https://example.com/\x1b\\\x07\x1b]0;owned\x07")
    address = linked("[1] \x1b[31mred", hostile).split("\x1b\\")[0]
    assert address.startswith("\x1b]8;;https://example.com/%1B")
    assert "\x07" not in linked("[1] \x1b[31mred", hostile)
    assert "\x1b[31m" not in linked("[1] \x1b[31mred", hostile)


def test_no_link_where_none_is_shown(passage: Passage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert linked("[1] Notes", passage) == "[1] Notes"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name, value in (("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv(name, value)
        assert linked("[1] Notes", passage) == "[1] Notes"
