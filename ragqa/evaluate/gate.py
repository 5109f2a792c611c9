"""The gate: is what there is now significantly worse than a baseline? For continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ragqa.errors import UsageError
from ragqa.evaluate.comparison import compare_runs
from ragqa.evaluate.metrics import default_metrics, parse_metrics
from ragqa.evaluate.runs import Run
from ragqa.evaluate.significance import Difference, holm
from ragqa.operations.corpus import missing_passages
from ragqa.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Gate:
    """The differences to the baseline, one for each metric, p-values corrected over them."""

    differences: tuple[Difference, ...]

    @property
    def losses(self) -> list[Difference]:
        """What got significantly worse."""
        return [d for d in self.differences if d.significant and d.mean.value < 0]


def judge_run(baseline: Run, run: Run, metrics: Sequence[str]) -> Gate:
    """Return how `run` does against `baseline` (by default on all metrics that both have).

    Raises UsageError when they have no question or metric in common.
    """
    names = [metric.name for metric in (parse_metrics(metrics) or default_metrics([baseline]))]
    compared = compare_runs([baseline, run], names, baseline)
    lacking = set(names) - {difference.metric for difference in compared}
    if not compared or (metrics and lacking):
        raise UsageError(
            f"The baseline {baseline.info.name} and {run.info.name} have no values in common for "
            f"{', '.join(sorted(lacking) or names)}."
        )
    adjusted = holm([difference.p for difference in compared])
    return Gate(
        tuple(replace(difference, adjusted_p=p) for difference, p in zip(compared, adjusted, strict=True))
    )


def needs_answers(metrics: Sequence[str]) -> bool:
    """Tell whether one of `metrics` is about answers."""
    return any(metric.measure is None for metric in parse_metrics(metrics))


def check_indexed(pipeline: Pipeline) -> None:
    """Raise UsageError when something that the config searches has yet to be built."""
    if not pipeline.corpus.count("passages"):
        raise UsageError(f"The corpus {pipeline.corpus.path} is empty: ragqa ingest SOURCE fills it.")
    missing = max(missing_passages(pipeline).values(), default=0)
    if missing:
        raise UsageError(
            f"{missing:,} passages of {pipeline.corpus.path} are not indexed for this config: "
            f"ragqa index -c {pipeline.config.name}"
        )
