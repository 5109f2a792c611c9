"""The one family of errors that a user can cause; a face prints the sentence and exits with `exit_code`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType


class RagqaError(Exception):
    """A sentence that says what happened and what to do about it."""

    exit_code = 1


class UsageError(RagqaError):
    """The request itself is wrong (an unknown name, an empty question); nothing was run."""

    exit_code = 2


class BusyError(RagqaError):
    """Another process is writing to the corpus."""


def sentence(error: Exception) -> str | None:
    """Return what to tell whoever asked of an error; None for one that is a fault of the program."""
    if isinstance(error, RagqaError):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return f"The corpus file could not be used: {error}."
    return "There is not enough memory for this." if isinstance(error, MemoryError) else None


def unreadable(path: Path, error: sqlite3.DatabaseError) -> RagqaError:
    """Return the error for a file in which SQLite finds something else than it wants."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return RagqaError(f"{path} is not a SQLite database ({error}).")
    return RagqaError(f"{path} is damaged ({error}). Take a backup of it, or make it anew.")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not one of `known`, listing those."""
    return UsageError(f"There is no {kind} {name!r}. Known: {', '.join(sorted(known))}.")


def missing_package(feature: str, module: str, requirement: str) -> RagqaError:
    """Return the error for an optional package that `feature` needs, with the line that mends it."""
    return RagqaError(
        f"{feature} needs the package {module!r}, which is not installed: pip install '{requirement}'"
    )


def require(module: str, feature: str, requirement: str) -> ModuleType:
    """Return `module`, which `feature` needs; raises what `missing_package` returns where it is missing.

    That something else is missing, within it, is another error and stays one.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise missing_package(feature, module, requirement) from error
