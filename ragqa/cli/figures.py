"""Figures as the tables and the JSON of runs show them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragqa.evaluate.runs import RunInfo
    from ragqa.evaluate.significance import Mean


def about(info: RunInfo) -> dict[str, Any]:
    return {
        "run": info.id,
        "name": info.name,
        "config": info.config_name,
        "model": info.key.model,
        "created": info.created,
        "corpus": info.corpus_path,
        "code_version": info.key.code_version,
        "device": info.device,
    }


def mean_json(mean: Mean) -> dict[str, Any]:
    """Return a mean with its interval; null where a single question has none."""
    return {
        "mean": round(mean.value, 6),
        "low": finite(mean.low),
        "high": finite(mean.high),
        "questions": mean.count,
    }


def interval(mean: Mean) -> str:
    return "" if math.isnan(mean.low) else f"[{mean.low:.3f}, {mean.high:.3f}]"


def p_value(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def number(value: float) -> str:
    return "nothing" if math.isnan(value) else f"{value:.3f}"


def finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
