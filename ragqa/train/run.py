"""`ragqa train` from pairs to an installed checkpoint, each step kept, so that a stopped run goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.config import config_file, dump_config
from ragqa.encoders import engines
from ragqa.encoders.device import Compute
from ragqa.encoders.hub import indexed_revision
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.questions import QuestionSet, load_questions
from ragqa.evaluate.significance import Difference, Mean
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.train.negatives import (
    FUSION,
    Example,
    Teacher,
    competitors,
    cross_encoder_teacher,
    fusion_teacher,
    mine,
)
from ragqa.train.pairs import (
    HEADINGS,
    Split,
    TrainingPair,
    heading_pairs,
    question_pairs,
    read_without,
    split,
    without_questions,
)
from ragqa.train.request import TrainReport, TrainRequest
from ragqa.train.settings import colbert_model, with_model
from ragqa.train.training import Trained, check_installed, train_model
from ragqa.train.trial import (
    MOST_PASSAGES,
    Progress,
    QualityChange,
    Rival,
    compare_configs,
    compare_held_back,
    held_back_questions,
    is_better,
)
from ragqa.train.written import WrittenQuestions, default_file, sample_passages, written_pairs

if TYPE_CHECKING:
    import llm

MODEL = "model:"
CONFIG = "config.yaml"
ABOUT = "training.json"
# Marks a training that came to its end without being installed, which the next one may replace.
FINISHED = "finished.json"


@dataclass(frozen=True, slots=True)
class _Material:
    """What is trained on and tried with, as it is kept in the work folder."""

    examples: tuple[Example, ...]
    held_back: tuple[TrainingPair, ...]
    rivals: tuple[Rival, ...]
    origins: Mapping[str, int]
    held_back_pairs: int
    between: int


def train(
    pipeline: Pipeline,
    request: TrainRequest,
    progress: Progress = lambda label: nullcontext(lambda done, total: None),
) -> TrainReport:
    """Train a checkpoint on the pipeline's corpus, compare it with its base, and install it if it is better.

    Raises UsageError when the request cannot be met, before anything is trained.
    """
    return _Run(pipeline, request, progress).run()


class _Run:
    """One run: its steps in order, and how long each took."""

    def __init__(self, pipeline: Pipeline, request: TrainRequest, progress: Progress) -> None:
        self.pipeline = pipeline
        self.request = request
        self.progress = progress
        self.work = request.work
        self.base = request.base or colbert_model(pipeline.config)
        self.revision = indexed_revision(pipeline.corpus.connection, self.base)
        self.compute = Compute(pipeline.config.device, pipeline.config.dtype)
        self.asked = _question_set(request)
        self.question_sets = {
            source: load_questions(Path(source))
            for source in request.sources
            if source != HEADINGS and not source.startswith(MODEL)
        }
        self.seconds: dict[str, float] = {}

    def run(self) -> TrainReport:
        folder = self.request.folder.resolve()
        # What is wrong with the request is said before anything is done.
        after = with_model(self.pipeline.config, folder, folder.name)
        check_installed(self.request.training.lora)
        self._check()
        self._begin()
        material: _Material = self._step("pairs", self._material)
        trained: Trained = self._step("training", lambda: self._trained(material))
        comparisons: list[QualityChange] = self._step("comparison", lambda: self._comparisons(material))
        better = is_better(comparisons[0], comparisons[1] if len(comparisons) > 1 else None)
        report = TrainReport(
            folder=folder,
            work=self.work,
            base=self.base,
            origins=material.origins,
            held_back_pairs=material.held_back_pairs,
            between=material.between,
            trained=trained,
            comparisons=tuple(comparisons),
            better=better,
            installed=better or self.request.force,
            seconds=self.seconds,
        )
        if report.installed:
            self._install(report, config_file(after, map(said, comparisons)))
        else:
            _write(self.work / FINISHED, {})
        return report

    # -- steps --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise UsageError where the folder, what is kept of a stopped run, or a model does not fit."""
        folder, work = self.request.folder, self.work
        if folder.exists():
            raise UsageError(f"{folder} is there already: name another folder, or delete it.")
        if not folder.parent.is_dir():
            raise UsageError(f"There is no folder {folder.parent} to make {folder.name} in.")
        kept = _read(work / "settings.json")
        if self.request.resume:
            if kept is None:
                raise UsageError(f"There is no training of {folder} to go on with: leave out --resume.")
            changed = [name for name, value in self._settings().items() if kept.get(name) != value]
            if changed:
                raise UsageError(
                    f"The training in {work} was begun with another {', '.join(changed)}: leave out "
                    "--resume to begin anew."
                )
        # Before there are pairs there is nothing to lose.
        elif (work / "pairs.json").is_file() and not (work / FINISHED).is_file():
            raise UsageError(
                f"{work} holds a training that was stopped: --resume goes on with it, and deleting the "
                "folder begins anew."
            )
        for source in self.request.sources:
            if source.startswith(MODEL):
                _writer(source)
        # Mining takes minutes: a base that cannot be loaded is to be noticed before it.
        engines.load_encoder(EncoderSettings(model=self.base), self.compute, self.revision)

    def _begin(self) -> None:
        """Make the work folder, unless its run is gone on with."""
        if self.request.resume:
            return
        try:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            _write(self.work / "settings.json", self._settings())
        except OSError as error:
            raise RagqaError(f"The folder {self.work} cannot be made: {error.strerror}.") from error

    def _material(self) -> _Material:
        kept = _read(self.work / "pairs.json")
        if kept is not None:
            return _Material(
                examples=tuple(map(Example.from_json, kept["examples"])),
                held_back=tuple(map(TrainingPair.from_json, kept["held_back"])),
                rivals=tuple(Rival(**rival) for rival in kept["rivals"]),
                origins=kept["origins"],
                held_back_pairs=kept["held_back_pairs"],
                between=kept["between"],
            )
        with self.progress("Indexing") as advance:
            build_index(self.pipeline, on_passages=advance)
        pairs = without_questions(self._pairs(), [q.text for q in self.asked.questions] if self.asked else ())
        material = self._mined(split(pairs, self.request.held_back, self.request.training.seed))
        _write(self.work / "pairs.json", asdict(material))
        return material

    def _pairs(self) -> list[TrainingPair]:
        pairs: list[TrainingPair] = []
        for source in self.request.sources:
            if source == HEADINGS:
                pairs += heading_pairs(self.pipeline.corpus)
            elif source.startswith(MODEL):
                pairs += self._written(source)
            else:
                with self.progress("Finding passages of answers") as advance:
                    pairs += question_pairs(self.pipeline, self.question_sets[source], advance)
        return pairs

    def _written(self, source: str) -> list[TrainingPair]:
        seed = self.request.training.seed
        passages = sample_passages(self.pipeline.corpus, self.request.written, seed)
        with WrittenQuestions(default_file()) as kept, self.progress("Writing questions") as advance:
            return written_pairs(_writer(source), passages, kept, advance)

    def _mined(self, parts: Split) -> _Material:
        held_back = held_back_questions(parts.held_back)
        with self.progress("Mining negatives") as advance:
            examples = mine(
                self.pipeline,
                parts.training,
                self.request.negatives,
                left_out=parts.held_back_documents,
                teacher=self._teacher(),
                seed=self.request.training.seed,
                on_pair=advance,
            )
        with self.progress("Finding rivals") as advance:
            passages = competitors(self.pipeline, held_back, MOST_PASSAGES, advance)
        return _Material(
            examples=tuple(examples),
            held_back=tuple(held_back),
            rivals=tuple(Rival(passage.document_id, read_without(passage, "")) for passage in passages),
            origins=dict(Counter(pair.origin for pair in parts.training)),
            held_back_pairs=len(parts.held_back),
            between=parts.between,
        )

    def _teacher(self) -> Teacher | None:
        if not self.request.distil:
            return None
        if self.request.distil == FUSION:
            return fusion_teacher
        return cross_encoder_teacher(self.pipeline, self.request.distil)

    def _install(self, report: TrainReport, config: str) -> None:
        """Move the checkpoint to where it was asked for, with its config and what it was made of."""
        made = self.work / "model"
        about = {**self._settings(), "pairs": dict(report.origins), "steps_made": report.trained.steps}
        try:
            (made / CONFIG).write_text(config, encoding="utf-8")
            _write(made / ABOUT, about)
            os.replace(made, report.folder)
        except OSError as error:
            raise RagqaError(
                f"{report.folder} cannot be made: {error.strerror}. --resume tries it again."
            ) from error
        shutil.rmtree(self.work, ignore_errors=True)

    def _trained(self, material: _Material) -> Trained:
        kept = _read(self.work / "trained.json")
        if kept is not None and (self.work / "model").is_dir():
            return Trained(**kept)
        with self.progress("Training") as advance:
            trained = train_model(
                self.base,
                material.examples,
                self.request.training,
                self.compute,
                self.work,
                revision=self.revision,
                on_step=advance,
            )
        _write(self.work / "trained.json", asdict(trained))
        return trained

    def _comparisons(self, material: _Material) -> list[QualityChange]:
        # In this process another checkpoint may have been loaded from the same place before.
        engines.forget()
        found = [self._kept(self.work / "held-back.json", lambda: self._held_back(material))]
        asked = self.asked
        if asked is not None:
            found.append(self._kept(self.work / "asked.json", lambda: self._asked(asked)))
        return found

    def _held_back(self, material: _Material) -> QualityChange:
        base, name = Path(self.base).name, self.request.folder.name
        encoders = [
            engines.load_encoder(EncoderSettings(model=self.base), self.compute, self.revision),
            engines.load_encoder(EncoderSettings(model=str(self._model())), self.compute),
        ]
        names = (base if base != name else f"{base} before", name)
        return compare_held_back(encoders, names, material.held_back, material.rivals, self.progress)

    def _asked(self, questions: QuestionSet) -> QualityChange:
        before = self.pipeline.config
        configs = [before, with_model(before, self._model(), self.request.folder.name)]
        return compare_configs(configs, self.pipeline.corpus, questions, self.work, self.progress)

    def _model(self) -> Path:
        return self.work.resolve() / "model"

    def _kept(self, path: Path, make: Callable[[], QualityChange]) -> QualityChange:
        """Return the comparison in a file, made first where there is none."""
        kept = _read(path)
        if kept is not None:
            return _comparison(kept)
        found = make()
        _write(path, asdict(found))
        return found

    # -- what is kept -------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """Return all that decides the result, as it is compared when a run goes on."""
        request = self.request
        return {
            "base": self.base,
            "config": dump_config(self.pipeline.config),
            "corpus": self.pipeline.corpus.fingerprint(),
            "sources": list(request.sources),
            "compare": self.asked.fingerprint if self.asked else None,
            "held-back": request.held_back,
            "negatives": request.negatives,
            "distil": request.distil,
            "written": request.written,
            **{name: value for name, value in asdict(request.training).items() if name != "save_every_s"},
        }

    def _step(self, name: str, step: Callable[[], Any]) -> Any:
        start = time.monotonic()
        result = step()
        self.seconds[name] = round(time.monotonic() - start, 1)
        return result


def said(comparison: QualityChange) -> str:
    """Return a comparison as a sentence."""
    one = comparison.difference
    return (
        f"{comparison.questions}, {one.mean.count:,} questions: {one.metric} {comparison.before:.4f} before, "
        f"{comparison.after:.4f} after; the difference is {one.mean.value:+.4f} (p = {one.p:.3g})."
    )


def _question_set(request: TrainRequest) -> QuestionSet | None:
    """Return the questions to compare by, which must be no source of training."""
    if request.compare is None:
        return None
    for source in request.sources:
        if source != HEADINGS and Path(source).resolve() == request.compare.resolve():
            raise UsageError(
                f"{source} cannot be both trained on and compared by: what a model has seen says nothing."
            )
    return load_questions(request.compare)


def _writer(source: str) -> llm.Model:
    from ragqa.answer.models import find_model

    return find_model(source.removeprefix(MODEL))


def _comparison(data: dict[str, Any]) -> QualityChange:
    difference = data["difference"]
    found = Difference(**{**difference, "mean": Mean(**difference["mean"])})
    return QualityChange(data["questions"], data["before"], data["after"], found)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2), encoding="utf-8")
    os.replace(part, path)
