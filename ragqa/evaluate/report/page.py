"""The report as a page: `page.html` filled in with what `content` says and `plots` draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragqa.evaluate.report import plots
from ragqa.evaluate.report.content import (
    TELLING,
    TOP,
    Study,
    Telling,
    code_versions,
    corpora,
    devices,
    study,
    telling,
    warnings,
)
from ragqa.evaluate.runs import Run
from ragqa.evaluate.significance import Difference, Mean
from ragqa.safety.templates import render

if TYPE_CHECKING:
    pass

NOTHING = "–"


def report_html(runs: Sequence[Run], pair: tuple[Run, Run] | None = None, metric: str | None = None) -> str:
    """Return one HTML page on `runs` that loads nothing from elsewhere and needs no JavaScript.

    `pair` are the runs that are compared question by question, by default the two best on the main
    metric, which is `metric` or the first that applies. The same runs make the same page. Raises
    UsageError for no run, for runs that share no question and for an unknown metric.
    """
    from markupsafe import Markup

    found = study(runs, pair, metric)
    told = telling(found)
    drawn = _drawn(found, told) if found.metrics else {}
    values = {
        "study": found,
        "told": told,
        "warnings": warnings(found),
        "corpora": corpora(found),
        "code_versions": code_versions(found),
        "devices": devices(found),
        "when": _when(found),
        "plots": {name: Markup(svg) if svg else None for name, svg in drawn.items()},
        "symbols": {
            where: [Markup(plots.symbol(place, where)) for place in range(len(found.runs))]
            for where in ("row", "legend")
        },
        "unpaired": math.comb(len(found.runs), 2) - len(found.differences),
        "most": TELLING,
        "top": TOP,
    }
    return render("ragqa.evaluate.report", "page.html", values, filters=_FILTERS)


def _drawn(study: Study, told: Sequence[Telling]) -> dict[str, str | None]:
    """Return the plots by name; None for one that has nothing to show."""
    took = [row.latency_ms.get("total", (None,))[0] for row in study.rows]
    sizes = [run.info.index_bytes / 1e6 if run.info.index_bytes else None for run in study.runs]
    return {
        "latency": plots.quality_against(study, took, "median ms per question", "latency"),
        "size": plots.quality_against(study, sizes, "index, MB", "size"),
        "scatter": plots.scatter(study, told),
        "types": plots.distributions(study),
    }


def _when(study: Study) -> str:
    times = sorted(run.info.created[:16].replace("T", " ") for run in study.runs)
    return times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"


def _value(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _signed(value: float) -> str:
    """Return a difference with its sign, which what rounds to nothing has not."""
    if math.isnan(value):
        return NOTHING
    shown = f"{value:+.3f}".replace("-", "−")
    return shown if float(f"{value:.3f}") else "0.000"


def _interval(mean: Mean, signed: bool = False) -> str:
    if math.isnan(mean.low) or math.isnan(mean.high):
        return "no interval"
    show = _signed if signed else _value
    return f"{show(mean.low)} to {show(mean.high)}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _ms(took: float) -> str:
    return f"{took:,.0f}" if took >= 100 else f"{took:.3g}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"


def _verdict(difference: Difference) -> str:
    if not difference.significant:
        return "not significant"
    better = difference.b if difference.mean.value > 0 else difference.a
    return f"{better} is better"


_FILTERS = (
    ("value", _value),
    ("signed", _signed),
    ("interval", _interval),
    ("p", _p),
    ("ms", _ms),
    ("size", _size),
    ("verdict", _verdict),
    ("money", lambda amount: f"{amount:,.4g}"),
    ("count", lambda number: f"{number:,}"),
)
