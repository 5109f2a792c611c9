"""Keys stay out of what is printed, logged and kept: they are known here, and nowhere written."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import quote

from ragqa.safety.untrusted import for_terminal

MARK = "[key removed]"
# Shorter ones, such as the "none" that servers of one's own are given, are words of the language.
SHORTEST_KEY = 8

_NAMES_A_KEY = re.compile(r"(?:^|_)(?:API)?(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?(?:_ID)?$", re.I)


def redacted(text: str, keys: Iterable[str | None] = ()) -> str:
    """Return `text` with MARK where it holds one of `keys`, or one of the environment's or of llm's store.

    A key is found as it is, and as URLs, JSON and Python's repr write it.
    """
    for form in _forms((*keys, *_known_keys())):
        text = text.replace(form, MARK)
    return text


def traceback_text(error: BaseException) -> str:
    """Return the traceback of `error` as it may be printed: without keys, safe for a terminal."""
    return for_terminal(redacted("".join(traceback.format_exception(error))))


class KeyFilter:
    """Takes keys out of a text that comes in pieces; a key may begin in one piece and end in another."""

    def __init__(self, keys: Iterable[str | None]) -> None:
        self._forms = _forms(keys)
        self._held = ""
        self.removed = False

    def add(self, piece: str) -> str:
        """Return what can be said by now."""
        if not self._forms:
            return piece
        text = self._held + piece
        for form in self._forms:
            self.removed = self.removed or form in text
            text = text.replace(form, MARK)
        longest = max(map(len, self._forms))
        begun = next((n for n in range(min(longest, len(text)), 0, -1) if self._may_begin(text[-n:])), 0)
        said, self._held = text[: len(text) - begun], text[len(text) - begun :]
        return said

    def finish(self) -> str:
        """Return what was held back: no key has come of it."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, end: str) -> bool:
        return any(form.startswith(end) for form in self._forms)


def _forms(keys: Iterable[str | None]) -> list[str]:
    """Return how the keys that are long enough may be written, the longest first."""
    found = {key.strip() for key in keys if key and len(key.strip()) >= SHORTEST_KEY}
    written = (
        form for key in found for form in (key, quote(key, safe=""), json.dumps(key)[1:-1], repr(key)[1:-1])
    )
    return sorted(set(written), key=len, reverse=True)


def _known_keys() -> Iterator[str]:
    for name, value in os.environ.items():
        if _NAMES_A_KEY.search(name):
            yield value
    # As long as llm is not loaded, none of its keys was read.
    llm = sys.modules.get("llm")
    if llm is not None:
        with suppress(Exception):
            for name, value in llm.load_keys().items():
                # The store has a note of its own to whoever opens it.
                if isinstance(value, str) and not name.startswith("//"):
                    yield value
