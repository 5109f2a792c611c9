"""Which files of a folder are read: not hidden, generated or ignored ones, nor links to elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ragqa.errors import UsageError
from ragqa.sources.source import Skipped
from ragqa.sources.text import clean

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Folders of what programs made or fetched.
GENERATED = frozenset({"node_modules", "bower_components", "__pycache__", "site-packages"})
# As git has them: patterns for the folder that the file is in and all below it; the last that matches counts.
IGNORE_FILES = (".gitignore", ".ragqaignore")
OUTSIDE = "a link that leads out of what was named (--follow-links)"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a folder are wanted.

    `include` and `exclude` are patterns as in .gitignore, of paths within the folder; without `include` every
    file is wanted. `max_bytes`: no larger ones; None: none is too large for being that.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_bytes: int | None = None
    follow_links: bool = False


@dataclass(slots=True)
class Walk:
    """The files found, in order, those that were passed over by name, and how many were left out for what."""

    paths: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def walk(root: Path, choice: Choice | None = None) -> Walk:
    """Return the files under `root` that `choice` wants; raises UsageError for a pattern that is none."""
    return _Walker(root, choice or Choice()).walk()


class _Walker:
    def __init__(self, root: Path, choice: Choice) -> None:
        self.root = root
        self.real = Path(os.path.realpath(root))
        self.choice = choice
        self.include = _patterns(choice.include)
        self.exclude = _patterns(choice.exclude)
        self.found = Walk()
        self.seen: set[tuple[int, int]] = set()

    def walk(self) -> Walk:
        self._folder(self.root, [])
        return self.found

    def _folder(self, folder: Path, ignoring: Sequence[tuple[Path, GitIgnoreSpec]]) -> None:
        ignoring = [*ignoring, *((folder, spec) for spec in _ignore_files(folder))]
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            self.found.skipped.append(Skipped(self._name(folder), reason, unread=True))
            return
        # A folder's own files come before those of the folders in it.
        for is_folder in (False, True):
            for entry in entries:
                if _is_folder(entry) == is_folder and self._wanted(entry, is_folder, ignoring):
                    if is_folder:
                        self._folder(Path(entry.path), ignoring)
                    else:
                        self.found.paths.append(Path(entry.path))

    def _wanted(
        self, entry: os.DirEntry[str], is_folder: bool, ignoring: Sequence[tuple[Path, GitIgnoreSpec]]
    ) -> bool:
        reason = self._reason(entry, is_folder, ignoring)
        if reason:
            self.found.left_out[reason] += 1
            return False
        if not entry.is_symlink():
            return True
        if not self.choice.follow_links:
            inside = Path(os.path.realpath(entry.path)).is_relative_to(self.real)
            if not inside:
                self.found.skipped.append(Skipped(self._name(Path(entry.path)), OUTSIDE))
            # What is linked within is read where it is.
            return inside and not is_folder
        return not is_folder or self._is_new(entry)

    def _reason(
        self, entry: os.DirEntry[str], is_folder: bool, ignoring: Sequence[tuple[Path, GitIgnoreSpec]]
    ) -> str:
        """Return for what an entry is left out; "" where it is not."""
        path = Path(entry.path)
        name = path.relative_to(self.root).as_posix() + ("/" if is_folder else "")
        if entry.name.startswith("."):
            return "hidden"
        if is_folder and (entry.name in GENERATED or (path / "pyvenv.cfg").exists()):
            return entry.name
        if self.exclude is not None and self.exclude.match_file(name):
            return "--exclude"
        if not is_folder and self.include is not None and not self.include.match_file(name):
            return "not in --include"
        if _ignored(path, is_folder, ignoring):
            return "ignored"
        too_large = (
            not is_folder and self.choice.max_bytes is not None and _size(entry) > self.choice.max_bytes
        )
        return "--max-size" if too_large else ""

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Tell whether a linked folder was not met yet: two that link to each other would never end."""
        try:
            about = os.stat(entry.path)
        except OSError:
            return False
        known = (about.st_dev, about.st_ino)
        new = known not in self.seen and not self.real.is_relative_to(os.path.realpath(entry.path))
        self.seen.add(known)
        return new

    def _name(self, path: Path) -> str:
        return clean(path.relative_to(self.root).as_posix())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _ignored(path: Path, is_folder: bool, ignoring: Sequence[tuple[Path, GitIgnoreSpec]]) -> bool:
    """Tell whether the innermost file of patterns that says anything of `path` says to ignore it."""
    for folder, spec in reversed(ignoring):
        found = spec.check_file(path.relative_to(folder).as_posix() + ("/" if is_folder else ""))
        if found.include is not None:
            return found.include
    return False


def _ignore_files(folder: Path) -> list[GitIgnoreSpec]:
    found = []
    for name in IGNORE_FILES:
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        try:
            found.append(_spec(tuple(lines)))
        except ValueError:
            # A line that is no pattern makes no other one void.
            found.append(_spec(tuple(line for line in lines if _is_pattern(line))))
    return found


def _patterns(patterns: tuple[str, ...]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    try:
        return _spec(patterns)
    except ValueError as error:
        raise UsageError(f"A pattern cannot be used: {error}.") from error


def _is_pattern(line: str) -> bool:
    try:
        _spec((line,))
    except ValueError:
        return False
    return True


@cache
def _spec(lines: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
