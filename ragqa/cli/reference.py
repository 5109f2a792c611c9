"""Writes the reference of all commands, docs/commands.md, from their help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ragqa.safety.untrusted import for_terminal

WIDTH = 96
_HEAD = """# Commands

What `--help` says of every command. `make docs` writes this file anew.
"""


def pages(command: Any = None, name: str = "ragqa", parent: Any = None) -> Iterator[tuple[Any, Any]]:
    """Yield the context and the command of `ragqa` and of everything below, in the order of the help."""
    if command is None:
        from ragqa.cli.app import app

        command = typer.main.get_command(app)
    ctx = command.context_class(command, info_name=name, parent=parent, **_SETTINGS)
    yield ctx, command
    for below, listed in getattr(command, "commands", {}).items():
        yield from pages(listed, below, ctx)


_SETTINGS: dict[str, Any] = {"terminal_width": WIDTH, "color": False, "help_option_names": ["-h", "--help"]}


def reference() -> str:
    """Return the reference as Markdown: the same wherever it is made, whatever the terminal."""
    parts = [_HEAD]
    for ctx, command in pages():
        text = _unstyled(command.get_help(ctx)).rstrip()
        parts.append(f"## {ctx.command_path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _unstyled(text: str) -> str:
    return for_terminal(text.replace("\x1b[1m", "").replace("\x1b[0m", ""))


def main() -> None:
    """Write the reference to the file named, else to stdout."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
    else:
        print(reference(), end="")


if __name__ == "__main__":
    main()
