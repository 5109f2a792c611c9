"""Sources as links on a terminal (OSC 8), which open the file, or an editor at the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from ragqa.safety.untrusted import for_line, is_web
from ragqa.types import Passage

# Such as vscode://file{path}:{line}; {page} is there too.
EDITOR = "RAGQA_EDITOR_URI"
_OPEN, _CLOSE = "\x1b]8;;", "\x1b\\"
# What may stand in an address as it is. No control character is among it, so that none ends the link early.
_PLAIN = "/:?#[]@!$&'()*+,;=%-._~"


def linked(text: str, passage: Passage) -> str:
    """Return a line of text, a link to where the passage stands on a terminal that may show one."""
    said = for_line(text)
    address = address_of(passage) if _shows_links() else None
    return f"{_OPEN}{quote(address, safe=_PLAIN)}{_CLOSE}{said}{_OPEN}{_CLOSE}" if address else said


def address_of(passage: Passage) -> str | None:
    """Return what opens a passage's document at its place; None where its file is not there."""
    if is_web(passage.source):
        return passage.source
    try:
        path = Path(passage.source).resolve()
        if not path.is_file():
            return None
    except (OSError, ValueError):
        return None
    place = passage.place
    line = str(place.first) if place is not None and place.first else "1"
    page = place.label if place is not None and place.kind == "page" else ""
    template = os.environ.get(EDITOR)
    if template:
        written = quote(str(path))
        return template.replace("{path}", written).replace("{line}", line).replace("{page}", quote(page))
    return path.as_uri() + (f"#page={page}" if page.isdecimal() else "")


def _shows_links() -> bool:
    # Whoever wants no colours wants letters alone (https://no-color.org).
    able = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return able and not os.environ.get("NO_COLOR")
