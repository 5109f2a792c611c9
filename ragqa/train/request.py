"""What is asked of a training, and what came of it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragqa.train.pairs import HEADINGS
from ragqa.train.training import Trained, TrainingSettings
from ragqa.train.trial import QualityChange


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train and where it goes.

    `sources` are "headings", files of questions, and "model:NAME" for questions that a model writes for
    `written` passages. `base` is the checkpoint to begin with, None: that of the config's ColBERT stage.
    `distil` is "" or the teacher: "fusion", or a cross-encoder's folder or hub name. `force` installs a
    checkpoint that is not better; `resume` goes on with a run that stopped.
    """

    folder: Path
    sources: tuple[str, ...] = (HEADINGS,)
    compare: Path | None = None
    base: str | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    held_back: float = 0.2
    negatives: int = 1
    distil: str = ""
    written: int = 500
    resume: bool = False
    force: bool = False

    @property
    def work(self) -> Path:
        """Where everything is until it is installed: beside the folder, so that it is moved in one step."""
        return self.folder.parent / f"{self.folder.name}.training"


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What came of it. `origins` counts training pairs by where they are from.

    `between` counts pairs that are left out because their documents are on both sides.
    """

    folder: Path
    work: Path
    base: str
    origins: Mapping[str, int]
    held_back_pairs: int
    between: int
    trained: Trained
    comparisons: tuple[QualityChange, ...]
    better: bool
    installed: bool
    seconds: Mapping[str, float]
