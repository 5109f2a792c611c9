"""Help that reads like a manual page: plain text of a docstring, the parameters, examples, exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

EXIT_CODES = (
    ("0", "It is done."),
    ("1", "It failed; or doctor found something wrong, or eval check a loss."),
    ("2", "The request was wrong: an unknown option, config, model or file."),
    ("3", "ask --strict: a sentence is not supported by what it cites."),
    ("130", "Interrupted by Ctrl-C."),
)
ENVIRONMENT = (
    ("RAGQA_DB", "The corpus file, where --db is not given."),
    ("RAGQA_RUNS", "The file of evaluation runs, where --runs is not given."),
    ("RAGQA_LANCE", "The Lance dataset of ragqa push and the config lancedb."),
    ("RAGQA_EDITOR_URI", "Where a source leads on a terminal: vscode://file{path}:{line}, or {page}."),
    ("RAGQA_PASSWORD", "What opens encrypted files, where --password is not given."),
    ("RAGQA_TOKEN", "The token of ragqa serve, where --token is not given."),
    ("LLM_USER_PATH", "llm's directory: its keys, aliases, default model and log."),
    ("HF_HUB_OFFLINE", "1 keeps checkpoints of model hubs from being looked for on the network."),
    ("NO_COLOR", "Not empty: no colours. Nor are there any where TERM is dumb, or in a pipe."),
    ("PAGER", "What shows long output on a terminal. Default: less -R."),
)
_EXAMPLE = "Example: "
# What Typer calls a type, and what a reader does.
_TYPES = {
    "<str>": "TEXT",
    "<int>": "N",
    "<int range>": "N",
    "<float>": "X",
    "<float range>": "X",
    "<path>": "PATH",
    "<list[str]>": "TEXT",
    "<list[int]>": "N",
    "<list[int] range>": "N",
    "<list[path]>": "PATH",
}
_TYPE = re.compile("|".join(map(re.escape, _TYPES)))


@dataclass(frozen=True, slots=True)
class Description:
    """What a docstring says: its first line, its other paragraphs, its examples."""

    summary: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]


def describe(docstring: str) -> Description:
    """Take a command's docstring apart. Examples are lines that begin with "Example: "."""
    paragraphs, examples = [], []
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        examples += [line.removeprefix(_EXAMPLE) for line in lines if line.startswith(_EXAMPLE)]
        text = " ".join(line for line in lines if not line.startswith(_EXAMPLE))
        if text:
            paragraphs.append(text)
    return Description(paragraphs[0] if paragraphs else "", tuple(paragraphs[1:]), tuple(examples))


def write(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the help of a command or a group of them to click's formatter."""
    described = describe(command.help or "")
    command.format_usage(ctx, formatter)
    for paragraph in (described.summary, *described.paragraphs):
        formatter.write_paragraph()
        formatter.write_text(paragraph)
    records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            named = param.metavar or param.name.upper() if _is_argument(param) else _named(record[0])
            records[param.param_type_name].append((named, record[1]))
    _section(formatter, "Arguments", records["argument"])
    _section(formatter, "Options", records["option"])
    for panel, listed in _panels(command, ctx):
        _section(formatter, panel, listed)
    if described.examples:
        with formatter.section(_bold("Example" if len(described.examples) == 1 else "Examples")):
            for example in described.examples:
                # Whole, however long: it is there to be copied.
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
    if ctx.parent is None:
        _section(formatter, "Exit codes", EXIT_CODES)
        _section(formatter, "Environment", ENVIRONMENT)


def _section(formatter: Any, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(_bold(heading)):
            formatter.write_dl(rows)


def _panels(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each panel of a group's commands with their names and summaries, in the order of their lines."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for name, listed in getattr(command, "commands", {}).items():
        if not listed.hidden:
            panel = listed.rich_help_panel
            panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append(
                (name, describe(listed.help or "").summary)
            )
    yield from panels.items()


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _named(names: str) -> str:
    return _TYPE.sub(lambda found: _TYPES[found[0]], names)


def _bold(heading: str) -> str:
    return typer.style(heading, bold=True)
