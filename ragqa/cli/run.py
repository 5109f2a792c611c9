"""Where errors become sentences and exit codes, for `ragqa` and for the commands of other rooms."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable

from ragqa.cli.show import note
from ragqa.errors import RagqaError


def run(program: Callable[[], object]) -> None:
    """Run a command line and exit: 0 done, 1 it failed, 2 the request was wrong, 130 interrupted.

    With --debug among the arguments an error is shown with its traceback.
    """
    try:
        program()
    except (RagqaError, sqlite3.Error, MemoryError) as error:
        if "--debug" in sys.argv:
            raise
        sentence = str(error) if isinstance(error, RagqaError) else _say(error)
        note(f"Error: {sentence}")
        sys.exit(error.exit_code if isinstance(error, RagqaError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _say(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for this."
    return f"The corpus file could not be used: {error}."
