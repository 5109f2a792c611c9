from __future__ import annotations

from ragqa.matching.terms import TermMatch, marked, marks, query_word, term_matches
from ragqa.types import Passage


def test_marks_are_characters_that_no_text_has() -> None:
    opening, closing = marks(["a \ue000 b", "\ue002"])
    assert (opening, closing) == ("\ue001", "\ue003")
    assert marked(f"a {opening}bé{closing}, {opening}c{closing}", opening, closing) == [(2, 4), (6, 7)]


def test_a_term_is_found_in_the_question_as_it_is_written_there() -> None:
    question = "Is İstanbul’s Shot_Scraper in a scraper?"
    assert [query_word(question, term).text for term in ("shot scraper", "scraper", "is")] == [
        "Shot_Scraper",
        "Scraper",
        "Is",
    ]
    # Lower case is longer here, and so not found: the term is shown as it was searched.
    term = "İstanbul".lower()
    assert (query_word(question, term).text, query_word(question, term).span) == (term, (0, 0))


def passage(title: str, headings: tuple[str, ...], text: str) -> Passage:
    return Passage(1, "d", 0, 0, len(text), title, headings, text, "", {})


def test_places_in_title_and_headings_are_those_of_the_text_that_is_shown() -> None:
    found = {"brew": TermMatch(2.0, [(0, 6)], [(4, 8), (9, 13)], [(0, 4)]), "none": TermMatch()}
    shown = passage("Brewed", ("Tea brew", "brew"), "brew it")
    matches = term_matches("fts", "brew none", shown, found, 4.0)
    # The last heading is said once, where the text repeats it.
    assert matches.text == "Brewed > Tea brew\nbrew it"
    words = [matches.text[word.start : word.end] for word in matches.words]
    assert words == ["Brewed", "brew", "brew"]
    assert {word.strength for word in matches.words} == {0.5}
    assert [(match.best, match.similarity, match.share) for match in matches.query] == [
        ((0, 6), 1.0, 2.0),
        (None, 0.0, 0.0),
    ]
    assert matches.total == 2.0


def test_a_title_that_is_cut_off_marks_nothing_else() -> None:
    long = "word " * 70
    matches = term_matches(
        "fts", "end", passage(long + "end", (), "text"), {"end": TermMatch(1.0, [(350, 353)])}, 1.0
    )
    assert len(matches.text) < len(long)
    assert matches.words == ()
    assert matches.query[0].best is None
    assert matches.total == 1.0
