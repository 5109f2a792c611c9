"""No second stage: the first stage's order stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from ragqa.config import Strict
from ragqa.search.contracts import Resources
from ragqa.types import Hit


class NoRerankerSettings(Strict):
    """Nothing can be set."""


class NoReranker:
    """The second stage `none`."""

    Settings: ClassVar[type[BaseModel]] = NoRerankerSettings

    def __init__(self, settings: NoRerankerSettings, resources: Resources) -> None:
        pass

    @classmethod
    def shares(cls, settings: NoRerankerSettings) -> bool:
        return True

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        return list(hits[:k])
