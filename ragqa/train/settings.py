"""Which stage of a config a checkpoint is trained for, and the config that names the new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragqa.config import Config, parse_config
from ragqa.errors import UsageError
from ragqa.search.registry import check_stages

# Stages whose `model` is a late-interaction checkpoint.
COLBERT_STAGES = frozenset({"colbert", "colbert-index", "ragatouille"})
EMBEDDED = "embedded"


def colbert_model(config: Config) -> str:
    """Return the checkpoint of the config's ColBERT stage, the second stage's before the first's.

    Raises UsageError when it has none.
    """
    data = config.model_dump(mode="json")
    for stage in (*_colbert_stages(data["rerank"]), *_colbert_stages(data["retrieve"])):
        return str(stage.get("model", EMBEDDED))
    raise UsageError(
        f"The config {config.name} has no ColBERT stage, so nothing would use what is trained: "
        "take -c default or -c colbert-exact."
    )


def with_model(config: Config, folder: Path, name: str) -> Config:
    """Return the config with the checkpoint in `folder` where its ColBERT stage's was.

    Raises UsageError when a stage takes no other model.
    """
    replaced = colbert_model(config)
    data = config.model_dump(mode="json")
    for stage in (*_colbert_stages(data["rerank"]), *_colbert_stages(data["retrieve"])):
        if stage.get("model", EMBEDDED) == replaced:
            stage["model"] = str(folder)
    description = f"{config.name} with the checkpoint {folder.name}."
    changed = parse_config({**data, "name": name, "description": description}, name)
    check_stages(changed.retrieve, changed.rerank)
    return changed


def _colbert_stages(stage: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of a stage, and of those that it is made of, that name a checkpoint."""
    if isinstance(stage, list):
        for part in stage:
            yield from _colbert_stages(part)
    elif isinstance(stage, Mapping):
        if stage.get("type") in COLBERT_STAGES and isinstance(stage, dict):
            yield stage
        for value in stage.values():
            yield from _colbert_stages(value)
