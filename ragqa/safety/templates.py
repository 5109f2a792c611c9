"""HTML templates: what is put into one is escaped, and shown without what deceives a reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ragqa.safety.untrusted import for_terminal

if TYPE_CHECKING:
    from jinja2 import Environment

Filters = tuple[tuple[str, Callable[..., Any]], ...]


def render(
    package: str, template: str, values: Mapping[str, Any], *, filters: Filters = (), folder: str = ""
) -> str:
    """Return a template filled in with `values`, as HTML; it lies in `folder` of a package of ragqa's.

    `filters` are the package's own, always the same.
    """
    html = _environment(package, folder, filters).get_template(template).render(**values)
    # Markup is escaped by then; what turns text around or hides it would do so in a browser too.
    return for_terminal(html)


@cache
def _environment(package: str, folder: str, filters: Filters) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    return made
