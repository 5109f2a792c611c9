r"""Text that others wrote, made safe for a terminal, for JSON on a terminal and for a prompt.

Unsafe is what acts or deceives without being seen: controls, and what Unicode calls default ignorable
(UAX #44), such as bidi controls, tag characters, zero-width spaces and fillers. Of these the ones that
writing systems and emoji cannot do without stay: ZWNJ and ZWJ (Persian, Indic, emoji), variation selectors
(emoji, Han, Mongolian). A soft hyphen and a zero-width space only say where a line may break, and common
text has them: a terminal shows them as what they stand for, so that they hide nothing either.
"""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_SEPARATORS = r"\u2028\u2029"
# Soft hyphen, grapheme joiner, Hangul and Khmer fillers, zero-width space, word joiner, invisible operators,
# deprecated format characters, byte order mark, shorthand and musical format characters.
_INVISIBLE = (
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
)
_ANNOTATION = r"\ufff9-\ufffb"
# Tags, and what of their plane is neither assigned nor visible.
_TAGS = r"\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
_SURROGATES = r"\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}{_BIDI}{_SEPARATORS}{_INVISIBLE}{_ANNOTATION}{_TAGS}{_SURROGATES}]")

_SHOWN = {"\xad": "-", "\u200b": " "}
_REPLACEMENT = "\ufffd"

_LINE_END = re.compile(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
_HAN_ONLY = re.compile(r"(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]+")
# After something visible one variation selector and one joiner make sense. More of them spell hidden text.
_SELECTORS = r"\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_JOINING = rf"[\u200c\u200d{_SELECTORS}]"
_RUN = re.compile(rf"(?={_JOINING})(?:(?<=\S)(?P<kept>[{_SELECTORS}]?[\u200c\u200d]?))?{_JOINING}*")


def for_terminal(text: str) -> str:
    """Return `text`, as long as it is, without characters that a terminal obeys or a reader cannot see.

    Tabs and newlines stay; everything else unsafe becomes U+FFFD or what it stands for.
    """
    return _UNSAFE.sub(lambda found: _SHOWN.get(found[0], _REPLACEMENT), text)


def for_line(text: str) -> str:
    """Return `text` as `for_terminal` does, with tabs and newlines as spaces, so that it is one line."""
    return for_terminal(text).replace("\n", " ").replace("\t", " ")


def for_model(text: str) -> str:
    r"""Return `text` as a model may read it: without controls and hidden text, every line ended by \n.

    Doing it twice changes nothing.
    """
    text = _UNSAFE.sub("", _LINE_END.sub("\n", text))
    return _RUN.sub(r"\g<kept>", _HAN_ONLY.sub("", text))


def is_web(source: str) -> bool:
    """Tell whether a source is an address that may become a link: nothing but http and https."""
    return source.lower().startswith(("http://", "https://"))


def to_json(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON that is safe to print and reads back the same: what is unsafe is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text)
