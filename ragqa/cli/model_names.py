"""The names of llm's models for the shell's completion, kept in a file: importing llm takes a second.

`python -m ragqa.cli.model_names` writes the file anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import platformdirs
import typer

from ragqa.cli.shell import VARIABLE

# There is always one of these.
ALWAYS = ("auto", "extractive")
# How long a shell waits for names that are not there yet; they are by the next time.
PATIENCE_S = 0.5
# Plugins ask servers what they have, and that changes unseen.
OLD_S = 24 * 3600.0


def known() -> list[str]:
    """Return the names and aliases of the models, those of the last time where today's take too long."""
    made, names = _read()
    if made == _made_of():
        if time.time() - _file().stat().st_mtime > OLD_S:
            _refresh_elsewhere()
    else:
        process = _refresh_elsewhere()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        names = _read()[1]
    return [*dict.fromkeys((*ALWAYS, *names))]


def remember(names: Iterable[str]) -> None:
    """Keep the names for the next time. A cache that cannot be written is none."""
    path = _file()
    beside = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({"of": _made_of(), "names": list(names)}), encoding="utf-8")
        beside.replace(path)


def refresh() -> None:
    """Ask llm for its models and keep their names."""
    from ragqa.answer.models import list_models

    remember(name for model in list_models() for name in (model["model"], *model["aliases"]))


def _file() -> Path:
    return platformdirs.user_cache_path("ragqa", appauthor=False) / "models.json"


def _read() -> tuple[str, list[str]]:
    try:
        kept = json.loads(_file().read_text(encoding="utf-8"))
        return str(kept["of"]), [str(name) for name in kept["names"]]
    except (OSError, ValueError, KeyError, TypeError):
        return "", []


def _made_of() -> str:
    """Return what the models depend on: the packages installed, and the files in llm's directory."""
    user = Path(os.environ.get("LLM_USER_PATH") or typer.get_app_dir("io.datasette.llm"))
    # The log is written at every answer.
    told = [path for pattern in ("*.json", "*.yaml", "*.txt") for path in sorted(user.glob(pattern))]
    installed = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    times = []
    for path in (*installed, *told):
        with suppress(OSError):
            times.append(f"{path} {path.stat().st_mtime_ns}")
    return "\n".join(times)


def _refresh_elsewhere() -> subprocess.Popen[bytes]:
    """Start a process that goes on when this one is gone."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-m", "ragqa.cli.model_names"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )


if __name__ == "__main__":
    refresh()
