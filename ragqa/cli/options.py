"""Options that several commands share, declared once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ragqa.cli import completion, show
from ragqa.cli.command import Command
from ragqa.errors import UsageError


def read_question(ctx: typer.Context, question: str) -> str:
    """Return the question, read from standard input where it is "-"."""
    if question != "-" or ctx.resilient_parsing:
        return question
    from ragqa.config import MAX_QUESTION

    if sys.stdin is None:
        raise UsageError("Standard input is closed, and the question was to be read from it.")
    if sys.stdin.isatty():
        show.note("Type the question, then Ctrl-D on a line of its own.")
    # A character of UTF-8 is four bytes at most, and what does not end is not read to its end.
    raw = sys.stdin.buffer.read(4 * MAX_QUESTION + 1)
    text = raw.decode("utf-8-sig", "replace")
    if len(raw) > 4 * MAX_QUESTION:
        raise UsageError(
            f"The question on standard input is too long; at most {MAX_QUESTION:,} characters are read."
        )
    return text.strip()


def config_option(text: str) -> Any:
    """Return the option --config with `text` as its help."""
    return typer.Option("--config", "-c", metavar="NAME", autocompletion=completion.configs, help=text)


def model_option(text: str, *flags: str) -> Any:
    """Return the option --model, or one with other `flags`, with `text` as its help."""
    names = flags or ("--model", "-m")
    return typer.Option(*names, metavar="NAME", autocompletion=completion.models, help=text)


Db = Annotated[
    Path | None,
    typer.Option("--db", help="The corpus file. Default: $RAGQA_DB, else one in your data directory."),
]
ConfigName = Annotated[str, config_option("A shipped config (ragqa configs) or a path to a YAML file.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=completion.devices,
        help="auto, cpu, cuda, cuda:N or mps, instead of the config's.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="TEXT",
        help="Only documents with such metadata: \"topic = 'sqlite' AND year >= 2020\". Can be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ModelName = Annotated[str | None, model_option("Any llm model by name or alias (ragqa models).")]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME VALUE", help="An option of the model. Can be repeated."),
]
PromptName = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="NAME",
        autocompletion=completion.prompts,
        help="concise, detailed, quote-only, or a path to an llm template of your own.",
    ),
]
# How many passages; None: as many as the config says.
Refuse = Annotated[
    Literal["auto", "strict", "never"] | None,
    typer.Option(
        "--refuse",
        help="Ask no model where the passages found look as if they held no answer: auto refuses at most 5% "
        "of what can be answered, strict more of what cannot.",
    ),
]
Passages = Annotated[int | None, typer.Option("-k", min=1, help="How many passages.")]
NoLog = Annotated[bool, typer.Option("--no-log", "-n", help="Do not log to llm's database.")]
Runs = Annotated[
    Path | None,
    typer.Option("--runs", help="The file of runs. Default: $RAGQA_RUNS, else one in your data directory."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show which words matched, as ragqa explain does.")]
NoPager = Annotated[
    bool, typer.Option("--no-pager", help="Do not show long output through $PAGER on a terminal.")
]
Question = Annotated[
    str,
    typer.Argument(
        metavar="QUESTION",
        callback=read_question,
        help="The question, in quotes; - reads it from standard input.",
    ),
]


class PairsCommand(Command):
    """A command whose -o takes a name and a value, as llm's does; NAME=VALUE works too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_pairs(args))


def model_options(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Return NAME=VALUE strings as a dictionary, or None when there are none."""
    options = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"The model option {pair!r} has no value: -o NAME VALUE.")
        options[name] = value
    return options or None


def _join_pairs(args: list[str]) -> list[str]:
    joined: list[str] = []
    rest = iter(args)
    for arg in rest:
        joined.append(arg)
        if arg in ("-o", "--option"):
            name = next(rest, None)
            if name is None:
                break
            value = None if "=" in name else next(rest, None)
            joined.append(name if value is None else f"{name}={value}")
        elif arg == "--":
            joined.extend(rest)
    return joined
