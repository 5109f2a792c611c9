"""The templates of the pages, filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ragqa.safety import templates
from ragqa.safety.untrusted import is_web
from ragqa.service.forms import size

_FILTERS = (
    ("count", lambda number: f"{number:,}"),
    ("size", size),
    ("web", is_web),
    ("query", lambda values: urlencode(values, errors="replace")),
)


def render(template: str, **values: Any) -> str:
    """Return the template filled in with `values`, as HTML."""
    return templates.render("ragqa.web", template, values, filters=_FILTERS, folder="templates")


def own_file(name: str) -> str:
    """Return the text of a file of this package."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
