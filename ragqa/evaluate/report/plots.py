"""Plots as SVG to put into a page: text stays text, and colours are CSS variables that the page sets."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ragqa.errors import require
from ragqa.evaluate.report.content import Study, Telling, anchor, by_type
from ragqa.evaluate.significance import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Narrow enough that text is still read when a phone scales the plot down to 360 px or so.
WIDTH = 440
FONT = 14
SERIES = 8
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# matplotlib takes colours only; these are swapped for variables afterwards, for light and dark.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {
    f"#0a0a0{place}": f"--series-{place}" for place in range(SERIES)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ragqa",
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "text.color": INK,
    # A dollar in a run's name is no formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
_Box = tuple[float, float, float, float]


def quality_against(study: Study, sizes: Sequence[float | None], axis: str, name: str) -> str | None:
    """Return the main metric's mean and interval of each run against `sizes`; None where none is known."""
    points = [
        (place, size, mean)
        for place, size in enumerate(sizes)
        if size is not None and (mean := study.mean(place, study.main)) is not None
    ]
    if not points:
        return None

    def draw(axes: Axes) -> str:
        known = [size for _, size, _ in points]
        if min(known) > 0 and max(known) > 8 * min(known):
            axes.set_xscale("log")
        for place, size, mean in points:
            low, high = _ends(mean)
            axes.errorbar(
                [size],
                [mean.value],
                yerr=[[mean.value - low], [high - mean.value]],
                fmt=MARKERS[place % SERIES],
                color=_colour(place),
                markersize=9,
                elinewidth=2,
                capsize=4,
            )
        axes.margins(x=0.15, y=0.1)
        axes.set_xlabel(axis)
        axes.set_title(study.main, loc="left")
        _plain_ticks(axes.xaxis, axes.yaxis)
        _label_points(axes, study, points)
        return ""

    told = "; ".join(f"{study.names[place]} {mean.value:.3f} at {size:,.4g}" for place, size, mean in points)
    return _svg(draw, name, f"{study.main} against {axis}: {told}", 360, (54, 16, 50, 30))


def scatter(study: Study, told: Sequence[Telling]) -> str | None:
    """Return the pair's values question by question, with links to the questions that are told of."""
    common = study.common()
    if study.pair is None or not common:
        return None
    name_a, name_b = (_short(study.names[place], 30) for place in study.pair)
    pair = study.pair
    linked = {telling.anchor for telling in told}

    def draw(axes: Axes) -> str:
        every = [value for _, a, b in common for value in (a, b)]
        low, high = min(0.0, *every), max(1.0, *every)
        room = (high - low) * 0.07
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.plot([low - room, high + room], [low - room, high + room], color=MUTED, linewidth=1)
        axes.set_xlabel(f"{study.main} of {name_a}")
        axes.set_title(f"{study.main} of {name_b}", loc="left")
        _plain_ticks(axes.xaxis, axes.yaxis)
        dots = []
        for place, x, y in _spread(common, high - low):
            column, row = axes.transData.transform((x, y))
            a, b = (study.values[run][study.main][place] for run in pair)
            dots.append(_dot(study, place, (a, b), (column, _height(axes) - row), linked))
        return "".join(dots)

    better = sum(b > a for _, a, b in common)
    worse = sum(b < a for _, a, b in common)
    text = (
        f"{study.main} of {study.names[pair[1]]} against {study.names[pair[0]]} by question: higher on "
        f"{better}, equal on {len(common) - better - worse}, lower on {worse}"
    )
    return _svg(draw, "scatter", text, 440, (54, 16, 50, 30))


def distributions(study: Study) -> str | None:
    """Return how the main metric is spread within each type of question; None with fewer than two types."""
    groups: list[tuple[str, list[tuple[int, list[float]]]]] = []
    for kind, places in by_type(study).items():
        rows = [
            (run, [values[study.main][place] for place in places if place in values[study.main]])
            for run, values in enumerate(study.values)
        ]
        if any(values for _, values in rows):
            groups.append((kind, rows))
    if len(groups) < 2:
        return None
    names = [f"{_short(kind, 20)} ({max(len(values) for _, values in rows)})" for kind, rows in groups]

    def draw(axes: Axes) -> str:
        runs = len(study.runs)
        ticks = []
        for group, (_, rows) in enumerate(groups):
            top = group * (runs + 1.0)
            ticks.append(top + (runs - 1) / 2)
            for run, values in rows:
                if values:
                    _spread_line(axes, top + run, values, run)
        axes.set_ylim(len(groups) * (runs + 1.0) - 1, -1)
        axes.set_yticks(ticks, names)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        for group in range(1, len(groups)):
            axes.axhline(group * (runs + 1.0) - 1, color=LINE, linewidth=1)
        axes.set_xlabel(study.main)
        _plain_ticks(axes.xaxis)
        return ""

    height = len(groups) * (len(study.runs) + 1) * 15 + 62
    left = min(190, 24 + 7.6 * max(map(len, names)))
    told = "; ".join(
        f"{kind}: "
        + ", ".join(f"{study.names[run]} {sum(values) / len(values):.3f}" for run, values in rows if values)
        for kind, rows in groups
    )
    return _svg(draw, "types", f"{study.main} by type of question, means: {told}", height, (left, 16, 50, 12))


def symbol(place: int, where: str) -> str:
    """Return a run's marker as a small SVG, to stand before its name; `where` tells ids apart."""

    def draw(axes: Axes) -> str:
        axes.set_axis_off()
        axes.plot([0], [0], MARKERS[place % SERIES], color=_colour(place), markersize=10)
        return ""

    return _svg(draw, f"{where}-{place}", "", 16, (0, 0, 0, 0), width=16)


def _svg(
    draw: Callable[[Axes], str],
    name: str,
    told: str,
    height: float,
    margins: tuple[float, float, float, float],
    width: float = WIDTH,
) -> str:
    """Return what `draw` draws and returns as one SVG; `margins` are left, right, bottom and top in px.

    Every id begins with `name`, because the ids of all plots of a page must differ. What has nothing
    `told` is hidden from screen readers.
    """
    require("matplotlib", "A report with plots", "ragqa[report]")
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    with rc_context(_STYLE), warnings.catch_warnings():
        # Text is drawn by the browser, which has the glyphs that the font for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        # At 72 dots per inch a point of the SVG is a pixel.
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
        )
        axes.patch.set_visible(False)
        over = draw(axes)
        written = io.BytesIO()
        canvas.print_svg(written, metadata={"Date": None})  # type: ignore[no-untyped-call]
    svg = written.getvalue().decode()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), body)
    said = f'role="img" aria-label="{html.escape(told)}"' if told else 'aria-hidden="true"'
    return f'<svg class="plot" {said} viewBox="0 0 {width:g} {height:g}">{body.strip()}{over}</svg>'


def _tag(tag: str, name: str) -> str:
    # Nothing refers to groups, only to what is defined.
    tag = re.sub(r'<g id="[^"]*"', "<g", tag)
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'xlink:href="#', f'href="#{name}-', tag).replace("url(#", f"url(#{name}-")
    return re.sub(r"#0[\da-f]{5}\b", lambda found: f"var({_VARIABLES.get(found[0], '--ink')})", tag)


def _colour(place: int) -> str:
    return f"#0a0a0{place % SERIES}"


def _height(axes: Axes) -> float:
    return float(axes.get_figure(root=True).bbox.height)  # type: ignore[union-attr]


def _ends(mean: Mean) -> tuple[float, float]:
    """Return the interval, which one question alone has not."""
    return (mean.value, mean.value) if math.isnan(mean.low) else (mean.low, mean.high)


def _short(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _plain_ticks(*listed: Axis) -> None:
    """Have ticks say 0.001 or 20,000, where matplotlib would write powers of ten as formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for axis in listed:
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _label_points(axes: Axes, study: Study, points: Sequence[tuple[int, float, Mean]]) -> None:
    """Write each point's name where it covers no point and no other name, or the least of them."""
    # Limits are worked out late, when they are asked for.
    axes.get_xlim(), axes.get_ylim()
    frame = axes.get_window_extent()
    taken: list[_Box] = []
    spots = []
    for place, x, mean in points:
        low, high = _ends(mean)
        column, row = axes.transData.transform((x, mean.value))
        bottom, top = (axes.transData.transform((x, end))[1] for end in (low, high))
        taken.append((column - 6, min(bottom, row - 6), column + 6, max(top, row + 6)))
        spots.append((place, column, row))
    for place, column, row in spots:
        text = _short(study.names[place], 26)
        wide = 0.58 * FONT * len(text)
        boxes = [
            (column + aside, row + up - 8, column + aside + wide, row + up + 8)
            for up in (0, 16, -16, 32, -32, 48, -48, 64, -64)
            # The side with more room first.
            for aside in sorted((10, -10 - wide), reverse=bool(column < (frame.x0 + frame.x1) / 2))
        ]
        costs = [
            sum(_overlap(box, other) for other in taken)
            + 9 * (_overlap(box, box) - _overlap(box, (frame.x0, frame.y0, frame.x1 + 12, frame.y1 + 8)))
            for box in boxes
        ]
        box = boxes[int(np.argmin(costs))]
        taken.append(box)
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        x, y = axes.transData.inverted().transform(middle)
        axes.text(x, y, text, ha="center", va="center", fontsize=FONT - 1, color=_colour(place))


def _overlap(one: _Box, other: _Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _spread(common: Sequence[tuple[int, float, float]], reach: float) -> list[tuple[int, float, float]]:
    """Return place, x and y of each question, those in one spot spread around it as a sunflower's seeds."""
    spots: dict[tuple[float, float], list[int]] = {}
    for place, a, b in common:
        spots.setdefault((round(a, 3), round(b, 3)), []).append(place)
    found = []
    for (a, b), places in spots.items():
        step = min(0.018, 0.06 / math.sqrt(len(places))) * reach if len(places) > 1 else 0.0
        for seed, place in enumerate(places):
            turn, far = seed * math.pi * (3 - math.sqrt(5)), step * math.sqrt(seed)
            found.append((place, a + far * math.cos(turn), b + far * math.sin(turn)))
    return found


def _dot(
    study: Study, place: int, both: tuple[float, float], spot: tuple[float, float], linked: set[str]
) -> str:
    """Return a question's dot with its tooltip; a link where the page tells of it.

    Links are left out of the keyboard's way, as the list below has them in order.
    """
    question, (a, b) = study.questions[place], both
    title = f"{question.text}\n{a:.3f} → {b:.3f}"
    side = "tie" if a == b else "up" if b > a else "down"
    here = f'cx="{spot[0]:.1f}" cy="{spot[1]:.1f}"'
    dot = f'<circle class="dot {side}" {here} r="5"><title>{html.escape(title)}</title></circle>'
    target = anchor(question.id)
    return f'<a href="#{html.escape(target)}" tabindex="-1">{dot}</a>' if target in linked else dot


def _spread_line(axes: Axes, row: float, values: Sequence[float], run: int) -> None:
    low, quarter, three, high = np.percentile(values, [5, 25, 75, 95])
    colour = _colour(run)
    axes.hlines(row, low, high, color=colour, linewidth=1.5)
    axes.hlines(row, quarter, three, color=colour, linewidth=9, alpha=0.35)
    axes.plot([float(np.mean(values))], [row], MARKERS[run % SERIES], color=colour, markersize=8)
