"""The entry of `ragqa`: Ctrl-C counts from here on, also while everything else is being imported."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from ragqa.cli.interrupts import was_interrupted


def main() -> None:
    """Run the command line; exits with 130 when it is interrupted."""
    try:
        from ragqa.cli.app import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as stop:
        _end(stop.code)
        raise
    except Exception as error:
        if was_interrupted(error):
            sys.exit(130)
        raise


def _end(code: int | str | None) -> None:
    """End the process at once where a model still hangs in a thread of its own."""
    if "ragqa.answer.limits" not in sys.modules or isinstance(code, str):
        return
    from ragqa.answer.limits import is_left_behind

    if is_left_behind():
        # What a model's C++ is at must not be taken apart under it, as the end of a process does.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code or 0)
