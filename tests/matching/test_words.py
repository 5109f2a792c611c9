from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.matching.words import cut, is_lexical, units


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in units(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shot-scraper, pip_install v3.11!", "shot - scraper , pip _ install v3 . 11 !"),
        ("cafe\u0301 naïve Ünïcode", "cafe\u0301 naïve Ünïcode"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("日本語のテスト", "日 本 語 のテスト"),
        ("👩‍💻👍🏽 🇩🇪🇫🇷 ❤️", "👩‍💻 👍🏽 🇩🇪 🇫🇷 ❤️"),
        ("soft\u00adhyphen lo\u202eop", "soft\u00adhyphen lo\u202eop"),
        ("\u0301a", "\u0301 a"),
        (" \n\t", ""),
    ],
)
def test_words_marks_and_symbols_are_whole(text: str, words: str) -> None:
    assert said(text) == words.split(" ") if words else said(text) == []


@given(st.text())
def test_everything_but_white_space_is_in_one_unit(text: str) -> None:
    places = units(text)
    covered = [place for start, end in places for place in range(start, end)]
    assert covered == [place for place, char in enumerate(text) if not char.isspace()]
    for start, _ in places:
        joins = unicodedata.category(text[start])[0] == "M"
        assert not joins or start == 0 or text[start - 1].isspace()


def test_pieces_of_a_word_belong_to_it_and_a_token_over_several_units_joins_them() -> None:
    text = "the gifsicle's 👩‍💻🎉"
    pieces = [(0, 0), (0, 3), (4, 7), (7, 9), (9, 12), (13, 14), (15, 19), (0, 0)]
    words, owners = cut(text, pieces)
    assert [text[start:end] for start, end in words] == ["the", "gifsicle", "'", "s", "👩‍💻🎉"]
    assert owners == [-1, 0, 1, 1, 1, 3, 4, -1]
    # A token of white space alone is no word's, and one with a space before its word is that word's.
    words, owners = cut("a  b", [(0, 1), (1, 3), (2, 4)])
    assert (words, owners) == ([(0, 1), (3, 4)], [0, -1, 1])


def test_what_is_more_than_punctuation() -> None:
    assert [is_lexical(text) for text in ("gif", "?", "", "3", "日", "🙂")] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]
