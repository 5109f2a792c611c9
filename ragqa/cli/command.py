"""What all commands have in common: --quiet, and help that reads like a manual page."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ragqa.cli import manual, show


def _be_quiet(ctx: typer.Context, quiet: bool) -> bool:
    if quiet and not ctx.resilient_parsing:
        show.be_quiet()
    return quiet


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        is_eager=True,
        expose_value=False,
        callback=_be_quiet,
        help="No notes and no progress on stderr; errors stay.",
    ),
]


class Command(TyperCommand):
    """A command that takes --quiet, too, whatever else its function takes."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **others: Any) -> None:
        super().__init__(*args, params=_and_quiet(params), **others)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Typer puts what must be given into braces.
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        manual.write(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands, which takes --quiet before the command."""

    def __init__(self, *, params: list[Any] | None = None, **others: Any) -> None:
        super().__init__(params=_and_quiet(params), **others)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if show.is_plain():
            ctx.color = False
        for param in self.get_params(ctx):
            # Typer asks pydantic what None is, which takes longer to import than all else that --help needs.
            if getattr(param, "is_flag", False) and param.default is None:
                param.default = False
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        manual.write(self, ctx, formatter)


def _and_quiet(params: list[Any] | None) -> list[Any]:
    taken = {name for param in params or () for name in param.opts}
    return [*(params or ()), _quiet_option("-q" not in taken)]


@cache
def _quiet_option(short: bool) -> Any:
    """Return --quiet as an option of Typer's, which makes them of functions only."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(quiet: Quiet = False) -> None:
        pass

    option = copy.copy(typer.main.get_command(app).params[0])
    if not short:
        option.opts = ["--quiet"]
    return option
