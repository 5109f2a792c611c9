"""Text in pictures: scanned pages and images, by rapidocr, whose models are in its wheel.

What was read of a picture is kept in the cache, by its bytes: it costs seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ragqa.sources.loader import File
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item, Skipped, UnderWay
from ragqa.sources.text import UnreadableError, clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

# Pixels an inch at which a page is drawn for it; PDF counts 72 to an inch.
DOTS = 150
# A picture of more pixels is drawn smaller.
MOST_PIXELS = 40_000_000


def is_there() -> bool:
    """Tell whether the extra is installed."""
    return find_spec("rapidocr") is not None


def read_image(file: File) -> Iterator[Item]:
    """Yield the text in a picture, a page for each frame of a TIFF; raises UnreadableError for none."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with Image.open(file.path) as opened:
            frames = [_array(frame) for frame in ImageSequence.Iterator(opened)]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableError("damaged (no picture)") from error
    sections = []
    for number, frame in enumerate(frames, 1):
        if len(frames) > 1:
            yield UnderWay(file.name, number, len(frames))
        sections.append(Section(str(number), _text(frame)))
    document = joined(file, "page", sections, format="text")
    yield Skipped(file.name, "no text in the picture") if isinstance(document, Skipped) else document


def read_page(page: Any) -> str:
    """Return the text on a page of a PDF, as it is drawn."""
    width, height = page.get_size()
    scale = min(DOTS / 72, (MOST_PIXELS / max(width * height, 1)) ** 0.5)
    picture: Picture = page.render(scale=scale).to_numpy()[:, :, :3]
    return _text(picture)


def _array(frame: Any) -> Picture:
    import numpy as np

    frame = frame.convert("RGB")
    if frame.width * frame.height > MOST_PIXELS:
        frame.thumbnail((6_000, 6_000))
    # Blue before red: so the models were trained.
    return np.asarray(frame)[:, :, ::-1]


def _text(picture: Picture) -> str:
    from platformdirs import user_cache_path

    shape = ",".join(map(str, (*picture.shape, _version())))
    digest = hashlib.sha256(shape.encode() + picture.tobytes()).hexdigest()
    kept = user_cache_path("ragqa") / "ocr" / f"{digest}.json"
    with suppress(OSError, ValueError):
        return str(json.loads(kept.read_text(encoding="utf-8")))
    text = _read(picture)
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(text), encoding="utf-8")
    return text


def _read(picture: Picture) -> str:
    """Return the lines that are found, from top to bottom, those at one height as one line."""
    found = _engine()(picture)
    if found.boxes is None or found.txts is None:
        return ""
    lines: list[tuple[float, float, str]] = []
    rows = sorted(zip(found.boxes, found.txts, strict=True), key=lambda one: float(one[0][:, 1].mean()))
    for box, text in rows:
        middle, height = float(box[:, 1].mean()), float(box[:, 1].max() - box[:, 1].min())
        if lines and abs(lines[-1][0] - middle) < 0.5 * max(height, lines[-1][1]):
            lines[-1] = (lines[-1][0], height, f"{lines[-1][2]} {text}")
        else:
            lines.append((middle, height, str(text)))
    return clean("\n".join(text for _, _, text in lines))


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    # Pictures are made no larger than the models look at; text is taken to be upright.
    params = {
        "Global.log_level": "critical",
        "Global.use_cls": False,
        "Det.limit_type": "max",
        "Det.limit_side_len": 960,
    }
    return RapidOCR(params=params)


@cache
def _version() -> str:
    try:
        return version("rapidocr")
    except PackageNotFoundError:
        return ""
