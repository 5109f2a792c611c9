"""How an answer looks: its sentences with their marks as they come, and its sources."""

from __future__ import annotations

import sys

import typer

from ragqa.answer.events import Said, Text
from ragqa.answer.remarks import closest, remarks
from ragqa.cli.links import linked
from ragqa.cli.show import plain, say
from ragqa.safety.untrusted import is_web
from ragqa.types import Answer, CheckedSentence, Passage


class AnswerPrinter:
    """Prints an answer while it comes: with its checks sentence by sentence, without them piece by piece.

    `take` is to be given every event; `quiet`, it prints nothing.
    """

    def __init__(self, checked: bool, quiet: bool = False) -> None:
        self._checked = checked
        self._quiet = quiet

    def take(self, event: object) -> None:
        match event:
            case Text(piece) if not self._checked:
                self._write(plain(piece))
            case Said(piece, check) if self._checked:
                self._write(beside(piece, check))

    def _write(self, text: str) -> None:
        if not self._quiet:
            typer.echo(text, nl=False)
            sys.stdout.flush()


def mark(check: CheckedSentence) -> str:
    """Return the mark that stands beside a checked sentence, coloured where that is shown."""
    if check.verdict == "supported":
        return typer.style("✓", fg="green")
    if check.verdict == "wrong citation":
        return typer.style(f"✗ rather [{check.best}]", fg="yellow")
    return typer.style("✗ unsupported", fg="red")


def marked(answer: Answer) -> str:
    """Return the text of an answer with the marks beside its checked sentences."""
    pieces, position = [], 0
    for sentence in answer.sentences:
        pieces.append(beside(answer.text[position : sentence.end], sentence))
        position = sentence.end
    return "".join(pieces) + plain(answer.text[position:].rstrip())


def beside(piece: str, check: CheckedSentence | None) -> str:
    """Return a piece of an answer that ends with the sentence that `check` is of, and the mark after it."""
    if check is None:
        return plain(piece)
    # Code closes on a line of its own, and so it must stay.
    gap = "\n" if piece.rstrip().endswith(("```", "~~~")) else " "
    return plain(piece) + gap + mark(check)


def print_after(answer: Answer) -> None:
    """Print what follows an answer: what its check found, its sources, or what came closest."""
    print()
    if answer.refused:
        _print_closest(answer)
        return
    known = remarks(answer)
    if known:
        print()
    for line in known:
        say(line)
    cited = [(citation.number, citation.passage) for citation in answer.citations]
    given = [(block.number, block.first) for block in answer.context.blocks]
    print("\nSources" if cited else "\nThe answer cites nothing. It was given")
    for number, passage in cited or given:
        print(linked(f"[{number}] {reference(passage)}", passage))


def _print_closest(answer: Answer) -> None:
    passages = closest(answer)
    print("\nClosest" if passages else "\nNo passage has anything to do with it.")
    for passage in passages:
        print(linked(f"- {reference(passage)}", passage))


def reference(passage: Passage, note: str = "") -> str:
    """Return a passage's title and where it is: on the web, or in the corpus. `note` follows that."""
    where = passage.source if is_web(passage.source) else passage.location
    return f"{passage.title or passage.document_id} ({where}{note})"
