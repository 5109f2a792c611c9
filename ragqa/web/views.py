"""What the pages show of an answer while it comes: pieces of HTML, each of them whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ragqa.answer.citations import citation_marks, mark_numbers
from ragqa.answer.events import Done, Found, Given, Said, Text
from ragqa.answer.remarks import closest, remarks
from ragqa.safety.untrusted import for_terminal
from ragqa.service.events import Note
from ragqa.service.library import Asked
from ragqa.types import Answer, ContextBlock, Passage
from ragqa.web.listen import Failed, Heard
from ragqa.web.rendering import render


@dataclass(frozen=True, slots=True)
class Reference:
    """A passage, or several of one document, to be opened with its shading."""

    number: int | None
    title: str
    link: str
    document_id: str
    location: str
    source: str


class AnswerView:
    """One answer: `take` turns an event into what the page is sent, and keeps it all for a whole page."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.who = f"{asked.config} · {asked.model}"
        self.answer: list[str] = []
        self.found = ""
        self.after = ""
        self.error = ""
        self._rest = ""
        self._blocks: dict[int, ContextBlock] = {}

    def take(self, event: Heard) -> list[tuple[str, dict[str, Any]]]:
        """Return the events for the page: their names and data."""
        match event:
            case Note(text):
                return [("note", {"text": text})]
            case Found(result):
                hits = [_reference(self.asked, None, [hit.passage]) for hit in result.hits]
                self.found = render("found.html", hits=hits)
                return [("found", {"html": self.found})]
            case Given(context):
                self._blocks = {block.number: block for block in context.blocks}
            case Text(piece):
                self._rest += piece
                return [("text", {"text": for_terminal(piece)})]
            case Said(piece, check):
                self._rest = self._rest[len(piece) :]
                return [self._say(piece, check)]
            case Done(answer):
                said = [] if self.answer else [self._say(answer.text, None)]
                self.after = self._after(answer)
                # An alias may have been asked, or whatever is there.
                self.who = f"{self.asked.config} · {answer.model}"
                return [*said, ("done", {"html": self.after, "who": for_terminal(self.who)})]
            case Failed(text, _):
                rest, self._rest = self._rest, ""
                self.error = text
                return [*([self._say(rest, None)] if rest else []), ("error", {"text": text})]
        return []

    def _say(self, piece: str, check: Any) -> tuple[str, dict[str, Any]]:
        html = render("sentence.html", pieces=self._pieces(piece), check=check, best=self._best(check))
        self.answer.append(html)
        return "sentence", {"html": html, "rest": for_terminal(self._rest)}

    def _pieces(self, text: str) -> list[str | list[Reference]]:
        """Return a text in pieces: strings, and a list of references for each mark."""
        pieces: list[str | list[Reference]] = []
        position = 0
        for mark in citation_marks(text):
            known = [number for number in mark_numbers(mark) if number in self._blocks]
            if known:
                pieces += [text[position : mark.start()], [self._cited(number) for number in known]]
                position = mark.end()
        return [*pieces, text[position:]]

    def _best(self, check: Any) -> Reference | None:
        wrong = check is not None and check.verdict == "wrong citation"
        return self._cited(check.best) if wrong else None

    def _cited(self, number: int) -> Reference:
        return _reference(self.asked, number, self._blocks[number].passages)

    def _after(self, answer: Answer) -> str:
        cited = [self._cited(citation.number) for citation in answer.citations]
        given = [self._cited(number) for number in self._blocks]
        return render(
            "after.html",
            answer=answer,
            remarks=remarks(answer),
            cited=cited,
            given=given,
            closest=[_reference(self.asked, None, [passage]) for passage in closest(answer)],
        )


def _reference(asked: Asked, number: int | None, passages: Sequence[Passage]) -> Reference:
    first = passages[0]
    query = [("question", asked.question), ("config", asked.config)]
    query += [("number", str(number))] if number is not None else []
    query += [("id", passage.id) for passage in passages]
    return Reference(
        number=number,
        title=" > ".join((first.title or first.document_id, *first.headings)),
        link="/passage?" + urlencode(query, errors="replace"),
        document_id=first.document_id,
        location=first.location,
        source=first.source,
    )
