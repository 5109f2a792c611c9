"""What every loader gives: a source that yields documents, and says what it had to leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ragqa.types import Document

# By these names a document says its own date; one that does not has its file's, as "modified".
DATES = frozenset({"date", "created", "published"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that became no document. `unread` means that there may be a document behind it.

    `kind` is that of a file of which none is read, such as ".mp4", and `reason` then why.
    """

    name: str
    reason: str
    unread: bool = False
    kind: str = ""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How far the reading of a long file is, in pages, so that whoever waits goes on waiting."""

    name: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"{self.name}, page {self.done:,} of {self.total:,}"


Item = Document | Skipped | UnderWay


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to ingest.

    `origin` identifies it between runs. `whole` says that the items are everything that this origin
    holds, so that what is missing from them may be pruned. `total` is their number, where known. `left_out`
    counts what was not looked at, by why: what is hidden, generated or ignored.
    """

    origin: str
    items: Iterator[Item]
    total: int | None = None
    whole: bool = True
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fields:
    """How records (table rows, JSON objects, CSV lines) become documents.

    `text` may name several fields, which are joined; without it, and without `id` and `title`, the
    usual names are looked for. `format` is "auto", "markdown", "html" or "text".
    """

    id: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()
    meta: tuple[str, ...] = ()
    format: str = "auto"
    id_prefix: str = ""


def bounded(source: Source, longest: int) -> Source:
    """Return `source` so that it skips, and names, documents of more than `longest` characters."""

    def items() -> Iterator[Item]:
        for item in source.items:
            if isinstance(item, Document) and len(item.text) > longest:
                yield Skipped(item.id, f"longer than {longest:,} characters", unread=True)
            else:
                yield item

    return replace(source, items=items())
