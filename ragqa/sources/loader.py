"""The contract of loaders: a loader is a function from a File to the documents in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ragqa.sources.source import Item


@dataclass(frozen=True, slots=True)
class File:
    """A file to read: `path` is where its bytes lie, `name` the id of its document.

    `source` is what the document says of where it came from, which for a member of an archive is no path.
    `format` is "auto", or says what text is written in; `password` opens what is encrypted.
    """

    path: Path
    name: str
    source: str
    format: str = "auto"
    password: str = ""


Read = Callable[[File], Iterator[Item]]


@dataclass(frozen=True, slots=True)
class Loader:
    """What reads files of some suffixes: `target` is "module:function".

    `needs` are the modules that it imports, which the `extra` brings. `apart`: in a process of its own, since
    what it parses with may hang, crash or fill the memory.
    """

    suffixes: tuple[str, ...]
    target: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    apart: bool = False

    def load(self) -> Read:
        module, _, name = self.target.partition(":")
        read: Read = getattr(import_module(module), name)
        return read

    def lacks(self) -> bool:
        """Tell whether something that it needs is not installed."""
        return any(find_spec(name) is None for name in self.needs)
