"""PowerPoint and OpenDocument presentations: slide by slide, each with its title and its notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ragqa.sources.loader import File
from ragqa.sources.ole import refuse_encrypted
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item
from ragqa.sources.text import UnreadableError, clean, clean_title


def read_pptx(file: File) -> Iterator[Item]:
    """Yield a PowerPoint presentation; raises UnreadableError for a damaged or encrypted one."""
    from pptx import Presentation
    from pptx.exc import PackageNotFoundError

    refuse_encrypted(file)
    try:
        slides = Presentation(str(file.path))
        sections = [_slide(number, slide) for number, slide in enumerate(slides.slides, 1)]
        title = clean_title(str(slides.core_properties.title or ""))
    except (PackageNotFoundError, KeyError, ValueError, AttributeError) as error:
        raise UnreadableError("damaged (no presentation)") from error
    # What is there until somebody names it.
    named = "" if title.lower() in ("powerpoint presentation", "presentation") else title
    yield joined(file, "slide", sections, title=named or _first(sections))


def read_odp(file: File) -> Iterator[Item]:
    """Yield an OpenDocument presentation."""
    from odfdo import Document as OpenDocument

    try:
        pages = OpenDocument(file.path).body.get_draw_pages()
        sections = [_page(number, page) for number, page in enumerate(pages, 1)]
    except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
        raise UnreadableError("damaged (no OpenDocument)") from error
    yield joined(file, "slide", sections, title=_first(sections))


def _slide(number: int, slide: Any) -> Section:
    title = slide.shapes.title
    name = clean_title(title.text_frame.text) if title is not None and title.has_text_frame else ""
    texts = [text for shape in slide.shapes if not _is(shape, title) for text in _texts(shape)]
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        texts += [f"Notes: {notes}"] if notes else []
    return _section(number, name, texts)


def _is(shape: Any, title: Any) -> bool:
    return title is not None and shape.shape_id == title.shape_id


def _section(number: int, name: str, texts: Sequence[str]) -> Section:
    said = [clean(text).strip() for text in texts if text.strip()]
    return Section(str(number), "\n\n".join([f"## {name}", *said] if name else said))


def _texts(shape: Any) -> Iterator[str]:
    if getattr(shape, "has_table", False):
        yield "\n".join(_rows([cell.text for cell in row.cells] for row in shape.table.rows))
    elif getattr(shape, "has_chart", False):
        yield _chart(shape.chart)
    elif hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _texts(inner)
    elif shape.has_text_frame:
        yield "\n".join(
            f"{'  ' * paragraph.level}- {paragraph.text}"
            if len(shape.text_frame.paragraphs) > 1
            else paragraph.text
            for paragraph in shape.text_frame.paragraphs
            if paragraph.text.strip()
        )


def _rows(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table's rows, each cell after the name of its column."""
    from ragqa.sources.tables import said

    text, _, _ = said(rows)
    yield text


def _chart(chart: Any) -> str:
    title = (
        chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else "Chart"
    )
    lines = [title]
    for plot in chart.plots:
        names = [str(name) for name in plot.categories]
        for series in plot.series:
            values = zip(names, series.values, strict=False)
            lines.append(f"{series.name}: " + ", ".join(f"{name} {value}" for name, value in values))
    return "\n".join(lines)


def _page(number: int, page: Any) -> Section:
    frames = [frame.inner_text.strip() for frame in page.get_elements("descendant::draw:frame")]
    texts = [text for text in frames if text]
    return _section(number, clean_title(texts[0]) if texts else "", texts[1:])


def _first(sections: Sequence[Section]) -> str:
    titles = (section.text.partition("\n")[0] for section in sections if section.text.startswith("## "))
    return next(titles, "").removeprefix("## ")
