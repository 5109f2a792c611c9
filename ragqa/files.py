"""Where things lie on disk: the files shipped with ragqa, the user's corpus, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def shipped(folder: str) -> Path:
    """Return the folder of shipped files `folder` ("configs", "prompts").

    A wheel carries it inside the package; a checkout has it beside the package.
    """
    inside = Path(__file__).parent / folder
    return inside if inside.is_dir() else Path(__file__).parents[1] / folder


def default_corpus() -> Path:
    """Return the corpus used without `--db`: `$RAGQA_DB`, else one in the user's data directory."""
    return _users_file("RAGQA_DB", "corpus.db")


def default_runs() -> Path:
    """Return where runs are kept without `--runs`: `$RAGQA_RUNS`, else in the user's data directory."""
    return _users_file("RAGQA_RUNS", "runs.db")


def default_dataset() -> str:
    """Return the folder, or the address, of the Lance dataset used where none is named.

    `$RAGQA_LANCE`, else a folder in the user's data directory.
    """
    return os.environ.get("RAGQA_LANCE") or str(_users_file("", "lance"))


def _users_file(variable: str, name: str) -> Path:
    from_environment = os.environ.get(variable)
    if from_environment:
        return Path(from_environment).expanduser()
    return Path(platformdirs.user_data_dir("ragqa", appauthor=False)) / name
