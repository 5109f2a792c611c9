"""Where errors become sentences and exit codes, for `ragqa` and for the commands of other rooms."""

from __future__ import annotations

import sqlite3
import sys
import traceback
from collections.abc import Callable

from ragqa.cli.show import note, plain
from ragqa.errors import RagqaError


def run(program: Callable[[], object]) -> None:
    """Run a command line and exit: 0 done, 1 it failed, 2 the request was wrong, 130 interrupted.

    With --debug among the arguments an error is shown with its traceback.
    """
    try:
        program()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (RagqaError, sqlite3.Error, MemoryError) as error:
        if "--debug" in sys.argv:
            _print_traceback(error)
        else:
            note(f"Error: {error if isinstance(error, RagqaError) else _say(error)}")
        sys.exit(error.exit_code if isinstance(error, RagqaError) else 1)
    except Exception as error:
        _print_traceback(error)
        sys.exit(1)


def _print_traceback(error: Exception) -> None:
    # Its message may quote what is in a document, and Python itself would print that as it is.
    print(plain("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def _say(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for this."
    return f"The corpus file could not be used: {error}."
