"""Where errors become sentences and exit codes, for `ragqa` and for the commands of other rooms."""

from __future__ import annotations

import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from ragqa.cli.main import was_interrupted
from ragqa.cli.show import error as tell
from ragqa.cli.show import plain
from ragqa.errors import RagqaError

INTERRUPTED = 130


def run(program: Callable[[], object]) -> None:
    """Run a command line and exit: 0 done, 1 it failed, 2 the request was wrong, 130 interrupted.

    With --debug among the arguments an error is shown with its traceback. No key is shown.
    """
    try:
        program()
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except SystemExit as stop:
        _leave(stop.code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (RagqaError, sqlite3.Error, MemoryError) as error:
        if "--debug" in sys.argv:
            _print_traceback(error)
        else:
            said = error if isinstance(error, RagqaError) else _say(error)
            tell(f"Error: {_without_keys(str(said))}")
        _leave(error.exit_code if isinstance(error, RagqaError) else 1)
    except Exception as error:
        if was_interrupted(error):
            _leave(INTERRUPTED)
        _print_traceback(error)
        _leave(1)


def _leave(code: int | str | None) -> None:
    if code == INTERRUPTED:
        # Another Ctrl-C ends what is left of the process, without a word.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _print_traceback(error: Exception) -> None:
    # Its message may quote what is in a document, and Python itself would print that as it is.
    text = "".join(traceback.format_exception(error))
    print(plain(_without_keys(text)), end="", file=sys.stderr)


def _without_keys(text: str) -> str:
    from ragqa.redaction import redacted

    return redacted(text)


def _say(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for this."
    return f"The corpus file could not be used: {error}."
