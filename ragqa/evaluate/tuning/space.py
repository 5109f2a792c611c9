"""The configs that tuning chooses from: each is a point, a value for every choice that applies to it.

Values only: nothing is searched or measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ragqa.config import ChunkSettings, Config, StageSettings
from ragqa.rerank.colbert import ColbertSettings
from ragqa.retrieve.dense import DenseSettings
from ragqa.retrieve.fts import FieldWeights, FullTextSettings
from ragqa.retrieve.hybrid import HybridSettings
from ragqa.search.fusion import Fusion, StageFusion

if TYPE_CHECKING:
    import optuna

FIRST = ("fts", "dense", "hybrid")
RERANK = ("none", "colbert")
BY = ("ranks", "scores")
DEPTHS = (10, 20, 50, 100, 200)
# Where the depth decides nothing: a first stage alone shows as many passages as it is asked for.
ANY_DEPTH = int(Config.model_fields["candidates"].default)
LOWEST, HIGHEST = 0.25, 8.0

Point = dict[str, Any]
_Settings = TypeVar("_Settings", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Space:
    """All points. `chunks` are the ways to cut the corpus, its own first; the rest goes into each config."""

    chunks: tuple[ChunkSettings, ...]
    device: str = "auto"
    where: str = ""

    def suggest(self, trial: optuna.Trial) -> Point:
        """Return the point that the sampler behind `trial` wants to be tried next.

        Of weights only the ratio counts, so that the first one is always 1.
        """
        first = trial.suggest_categorical("first", FIRST)
        if first != "dense":
            _suggest_weights(trial, "title", "headings")
        if first == "hybrid":
            trial.suggest_categorical("hybrid_by", BY)
            _suggest_weights(trial, "hybrid_dense")
        rerank = trial.suggest_categorical("rerank", RERANK)
        if _has_depth(first, rerank):
            trial.suggest_categorical("candidates", DEPTHS)
        if rerank == "colbert" and trial.suggest_categorical("colbert_by", ("none", *BY)) != "none":
            _suggest_weights(trial, *_colbert_weights(first))
        if len(self.chunks) > 1:
            trial.suggest_categorical("tokens", [chunk.tokens for chunk in self.chunks])
        return dict(trial.params)

    def config(self, point: Mapping[str, Any], name: str) -> Config:
        """Return the config of a point, its weights rounded to two digits."""
        chunk = {chunk.tokens: chunk for chunk in self.chunks}.get(point.get("tokens", 0), self.chunks[0])
        return Config(
            name=name,
            device=self.device,
            where=self.where,
            chunk=chunk,
            retrieve=StageSettings(**_first_stage(point)),
            candidates=point.get("candidates", ANY_DEPTH),
            rerank=StageSettings(**_reranker(point)),
        )

    def point(self, config: Config) -> Point | None:
        """Return the point of a config; None for one that is not in the space."""
        try:
            point = _point(config)
        except ValidationError:
            return None
        weights = [value for value in (point or {}).values() if isinstance(value, float)]
        if point is None or config.chunk not in self.chunks or not all(map(_is_weight, weights)):
            return None
        return point | ({"tokens": config.chunk.tokens} if len(self.chunks) > 1 else {})


def cost(config: Config) -> tuple[bool, int, int]:
    """Return what puts configs in order of what a question costs: reranker, candidates, first stages."""
    first = config.retrieve.type
    place = FIRST.index(first) if first in FIRST else len(FIRST)
    return config.rerank.type != "none", config.candidates, place


def _suggest_weights(trial: optuna.Trial, *names: str) -> None:
    for name in names:
        trial.suggest_float(name, LOWEST, HIGHEST, log=True)


def _has_depth(first: str, rerank: str) -> bool:
    return first == "hybrid" or rerank != "none"


def _stages(first: str) -> tuple[str, ...]:
    return ("fts", "dense") if first == "hybrid" else (first,)


def _colbert_weights(first: str) -> list[str]:
    """Return the names of the weights beside the first stage's."""
    return [f"colbert_{stage}" for stage in (*_stages(first)[1:], "colbert")]


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _is_weight(value: float) -> bool:
    return LOWEST <= value <= HIGHEST


# -- from a point to a config -----------------------------------------------------------------


def _first_stage(point: Mapping[str, Any]) -> dict[str, Any]:
    stages: list[dict[str, Any]] = []
    for stage in _stages(point["first"]):
        stages.append({"type": stage})
        if stage == "fts":
            stages[-1]["weights"] = {name: _rounded(point[name]) for name in ("title", "headings")}
    if point["first"] != "hybrid":
        return stages[0]
    fuse = {"by": point["hybrid_by"], "weights": [1.0, _rounded(point["hybrid_dense"])]}
    return {"type": "hybrid", "stages": stages, "fuse": fuse}


def _reranker(point: Mapping[str, Any]) -> dict[str, Any]:
    if point["rerank"] == "none" or point["colbert_by"] == "none":
        return {"type": point["rerank"]}
    first = point["first"]
    weights = [1.0, *(_rounded(point[name]) for name in _colbert_weights(first))]
    names = (*_stages(first), "colbert")
    return {
        "type": "colbert",
        "fuse": {"by": point["colbert_by"], "weights": dict(zip(names, weights, strict=True))},
    }


# -- from a config to a point -----------------------------------------------------------------


def _point(config: Config) -> Point | None:
    """Return a config's point; each None below stands for a setting that no point has."""
    first, rerank = config.retrieve.type, config.rerank.type
    if config.dtype != "auto" or first not in FIRST or rerank not in RERANK:
        return None
    if config.candidates not in (DEPTHS if _has_depth(first, rerank) else (ANY_DEPTH,)):
        return None
    found = _first_point(config.retrieve)
    fusion = {} if rerank == "none" else _fusion_point(first, config.rerank)
    if found is None or fusion is None:
        return None
    depth = {"candidates": config.candidates} if _has_depth(first, rerank) else {}
    return {"first": first, **found, "rerank": rerank, **depth, **fusion}


def _first_point(stage: StageSettings) -> Point | None:
    if stage.type == "dense":
        return {} if DenseSettings(**stage.options) == DenseSettings() else None
    if stage.type == "fts":
        weights = FullTextSettings(**stage.options).weights
        named = {"title": weights.title, "headings": weights.headings}
        known = FullTextSettings(weights=FieldWeights(**named))
        return named if FullTextSettings(**stage.options) == known else None
    hybrid = HybridSettings(**stage.options)
    parts = [_first_point(part) for part in hybrid.stages]
    if tuple(part.type for part in hybrid.stages) != ("fts", "dense") or None in parts:
        return None
    ratios = _ratios(hybrid.fuse.weights or (1.0, 1.0))
    if ratios is None or hybrid.fuse.k != Fusion().k:
        return None
    return {**(parts[0] or {}), "hybrid_by": hybrid.fuse.by, "hybrid_dense": ratios[0]}


def _fusion_point(first: str, stage: StageSettings) -> Point | None:
    settings = ColbertSettings(**stage.options)
    fuse = settings.fuse
    if settings.model_copy(update={"fuse": None}) != ColbertSettings():
        return None
    if fuse is None:
        return {"colbert_by": "none"}
    names = (*_stages(first), "colbert")
    if set(fuse.weights) != set(names) or fuse.k != StageFusion.model_fields["k"].default:
        return None
    ratios = _ratios([fuse.weights[name] for name in names])
    if ratios is None:
        return None
    return {"colbert_by": fuse.by, **dict(zip(_colbert_weights(first), ratios, strict=True))}


def _ratios(weights: Sequence[float]) -> list[float] | None:
    """Return the weights after the first, divided by it."""
    return [weight / weights[0] for weight in weights[1:]] if weights[0] else None
