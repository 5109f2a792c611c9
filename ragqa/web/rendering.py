"""Templates filled in: what is put into them is escaped, and shown without what deceives a reader."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ragqa.safety.untrusted import for_terminal, is_web
from ragqa.service.forms import size

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Return the template filled in with `values`, as HTML."""
    return for_terminal(environment().get_template(template).render(**values))


@cache
def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("ragqa.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count=lambda number: f"{number:,}",
        size=size,
        web=is_web,
        query=lambda values: urlencode(values, errors="replace"),
    )
    return made


def own_file(name: str) -> str:
    """Return the text of a file of this package."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
