"""Where errors become sentences and exit codes, for `ragqa` and for the commands of other rooms."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from ragqa.cli.interrupts import was_interrupted
from ragqa.cli.show import error as tell
from ragqa.errors import RagqaError, sentence

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
    except Exception as error:
        said = sentence(error)
        if said is None and was_interrupted(error):
            _leave(INTERRUPTED)
        if said is None or "--debug" in sys.argv:
            _print_traceback(error)
        else:
            tell(f"Error: {said}")
        _leave(error.exit_code if isinstance(error, RagqaError) else 1)


def _leave(code: int | str | None) -> None:
    if code == INTERRUPTED:
        # Another Ctrl-C ends what is left of the process, without a word.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _print_traceback(error: Exception) -> None:
    from ragqa.safety.redaction import traceback_text

    print(traceback_text(error), end="", file=sys.stderr)
