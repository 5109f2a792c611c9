"""The entry of `ragqa`: Ctrl-C counts from here on, also while everything else is being imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with 130 when it is interrupted."""
    try:
        from ragqa.cli.app import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if was_interrupted(error):
            sys.exit(130)
        raise


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an error came of Ctrl-C: a library that is being imported may say that it is broken."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
