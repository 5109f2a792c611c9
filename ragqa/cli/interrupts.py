"""Ctrl-C: how an error that came of it is known. Imports nothing, since it counts from the start."""

from __future__ import annotations


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an error came of Ctrl-C: a library that is being imported may say that it is broken."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
