"""What an encoder made of each passage, kept in a table of the corpus file: made once, resumably.

The rules that all such stores share live here (fingerprint, what is missing, building, encoding on
the fly); what the vectors are is for the rooms that use them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from ragqa.corpus.database import Corpus, batches
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.hub import changed_files
from ragqa.errors import BusyError, RagqaError
from ragqa.types import Passage

# How many passages are encoded between two commits.
COMMIT_EVERY = 256
# How many passages without vectors a search encodes by itself before it asks for `ragqa index`.
ON_THE_FLY = 500

# Files that changed, named one by one.
NAMED = 5

# The values of a row besides passage and encoder, in the order of the store's `columns`.
Row = tuple[Any, ...]


class Unstored:
    """The rows that were made last of passages whose own were not in a corpus.

    They may have no place there: somebody is writing to it, it is read-only, the passages are of another
    database. Rows are found by all that decides their bytes, `maker` (table and encoder) and the text:
    they are never stale, and serve every store.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._rows: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._turn = threading.Lock()

    def rows(
        self,
        maker: str,
        passages: Sequence[Passage],
        encode: Callable[[Sequence[Passage]], dict[int, Row]],
    ) -> tuple[dict[int, Row], list[Passage]]:
        """Return the rows of `passages` by rowid, and the passages that `encode` had to make them of."""
        keys = {passage.rowid: (maker, indexed_text(passage)[0]) for passage in passages}
        # Questions that are asked together lack the same passages: the first one encodes them.
        with self._turn:
            found = {rowid: self._rows[key] for rowid, key in keys.items() if key in self._rows}
            lacking = [passage for passage in passages if passage.rowid not in found]
            if lacking:
                found.update(encode(lacking))
            self._rows.update({keys[passage.rowid]: found[passage.rowid] for passage in lacking})
            while len(self._rows) > self._kept:
                self._rows.popitem(last=False)
        return found, lacking


# By the model that made them. A server's pipelines share it, and would else make them at every question.
_unstored: WeakKeyDictionary[object, Unstored] = WeakKeyDictionary()


class RowEngine(Protocol):
    """What makes the rows of many passages: other processes, say, or other machines."""

    def rows(
        self, store: PassageStore, beside: PassageStore | None, passages: Iterable[Sequence[Passage]]
    ) -> Iterator[list[dict[int, Row]]]:
        """Yield, for each batch of `passages` in their order, what `store.make` returns for it."""


class PassageStore(ABC):
    """One encoder's rows in one corpus; `note` is told what will take a while.

    `identity` is all that decides the stored bytes except the passage itself.
    """

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

    def __init__(
        self, corpus: Corpus, identity: Mapping[str, Any], note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.corpus = corpus
        self.note = note
        self._complete_at: tuple[int, int] | None = None
        self.description = json.dumps({**identity, "text": "title > headings, text"}, sort_keys=True)

    @abstractmethod
    def encode(self, passages: Sequence[Passage]) -> dict[int, Row]:
        """Return the row of each passage, by the passage's rowid."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stored bytes except the passage itself."""
        return hashlib.sha256(self.description.encode()).hexdigest()

    def missing(self) -> int:
        """Return how many passages have no row from this encoder yet."""
        return self.corpus.count("passages") - self.stored()

    def stored(self) -> int:
        """Return how many passages have a row from this encoder."""
        query = f"SELECT count(*) FROM {self.table} WHERE encoder = ?"
        return int(self.corpus.connection.execute(query, [self.encoder_row()]).fetchone()[0])

    def size(self) -> int:
        """Return the bytes that are stored from this encoder."""
        blobs = " + ".join(f"iif(typeof({name}) = 'blob', length({name}), 0)" for name in self.columns)
        query = f"SELECT coalesce(sum({blobs}), 0) FROM {self.table} WHERE encoder = ?"
        return int(self.corpus.connection.execute(query, [self.encoder_row()]).fetchone()[0])

    @property
    @abstractmethod
    def question_model(self) -> object:
        """What encodes questions: two stores that share it have a question encoded once."""

    @abstractmethod
    def encode_question(self, question: str) -> None:
        """Encode a question ahead of its search; the model remembers it."""

    def check(self) -> None:
        """Raise RagqaError when nothing is stored from this encoder, but something from another is."""
        if self._has_any():
            return
        other = self.corpus.connection.execute(
            "SELECT description FROM encoders WHERE EXISTS"
            f" (SELECT 1 FROM {self.table} WHERE encoder = encoders.rowid)"
        ).fetchone()
        if other:
            changed = changed_files(json.loads(other[0]), json.loads(self.description))
            if changed:
                raise RagqaError(
                    f"The model {json.loads(other[0])['model']} is not the one that {self.corpus.path} was "
                    f"indexed with, since {', '.join(changed[:NAMED])} changed: "
                    "ragqa index -c CONFIG makes its vectors anew."
                )
            raise RagqaError(
                f"The corpus {self.corpus.path} is indexed with {_say(other[0])}, and this config wants "
                f"{_say(self.description)}: ragqa index -c CONFIG makes its vectors."
            )

    def complete(self) -> None:
        """Make the few rows that are missing; raise RagqaError when they are many.

        For stages that search all rows: one that lacked some would silently not find their passages.
        """
        # Asked before every search, and answered by counting only where the file has changed.
        state = self.corpus.state()
        if self._complete_at == state:
            return
        missing = self.missing()
        if missing:
            self._complete(missing)
        # As it was before counting: what was committed since then is counted at the next question.
        self._complete_at = state

    def _complete(self, missing: int) -> None:
        self.check()
        if missing > ON_THE_FLY or not self.corpus.writable:
            raise RagqaError(
                f"{missing:,} passages of {self.corpus.path} have no {self.what} yet: ragqa index -c CONFIG "
                "makes them."
            )
        try:
            with self.corpus.writing(wait_s=0):
                self.note(f"Passages without {self.what}: {missing:,}, made now (ragqa index does it once).")
                self.build()
        except BusyError:
            # Readers go on reading: what somebody is just adding is found as soon as it is all there.
            self.note(f"Another process is writing: {missing:,} new passages are not searched yet.")

    def build(
        self,
        on_passages: Callable[[int, int], None] = lambda done, total: None,
        beside: PassageStore | None = None,
        engine: RowEngine | None = None,
    ) -> int:
        """Encode every passage that has no row, longest first, and return how many that were.

        Commits every COMMIT_EVERY passages: a killed run goes on from there. `on_passages` is told
        how many of how many are done. Passages of like length share a batch, so little is padding.
        With `beside`, that store's rows are made in the same pass where the encoder can. With an
        `engine`, it makes the rows, and this process only writes them.
        """
        with self.corpus.writing():
            rows = self.corpus.connection.execute(
                "SELECT rowid FROM passages WHERE rowid NOT IN"
                f" (SELECT passage FROM {self.table} WHERE encoder = ?) ORDER BY length(text) DESC, rowid",
                [self.encoder_row()],
            ).fetchall()
            rowids = [row[0] for row in rows]
            passages = (self.corpus.passages(batch) for batch in batches(rowids, COMMIT_EVERY))
            made: Iterator[list[dict[int, Row]]] = (self.make(batch, beside) for batch in passages)
            if engine is not None:
                made = engine.rows(self, beside, passages)
            done = 0
            for batch, both in zip(batches(rowids, COMMIT_EVERY), made, strict=True):
                self._store(both, beside)
                done += len(batch)
                on_passages(done, len(rowids))
        return done

    def make(self, passages: Sequence[Passage], beside: PassageStore | None) -> list[dict[int, Row]]:
        """Return this store's rows and those of `beside`, none where that is None, by rowid."""
        return [self.encode(passages), {}] if beside is None else self.encode_with(passages, beside)

    def rows_of(self, passages: Sequence[Passage], vectors: Any) -> dict[int, Row]:
        """Return the rows for `vectors` that another store's encoder made of `passages`, one each.

        Only a store that `build` can be given as `beside` overrides this.
        """
        raise TypeError(f"{type(self).__name__} takes no vectors of another store's encoder")

    def encode_with(self, passages: Sequence[Passage], beside: PassageStore) -> list[dict[int, Row]]:
        """Return this store's rows and those of `beside`, as one encoder pass gives them.

        Only a store whose encoder gives both overrides this; here nothing is made for `beside`.
        """
        return [self.encode(passages), {}]

    def read_or_make(self, passages: Sequence[Passage]) -> dict[int, Row]:
        """Return the rows of `passages`; a missing one is made now, and stored if nobody else writes."""
        found = self.read_stored([passage.rowid for passage in passages])
        foreign = [passage for passage in passages if passage.rowid < 0]
        for source in self.corpus.elsewhere if foreign else ():
            found.update(source.rows(self.table, self.fingerprint, foreign))
        lacking = [passage for passage in passages if passage.rowid not in found]
        if lacking:
            found.update(self._encode_now(lacking))
        return found

    # -- the table ----------------------------------------------------------------------------

    def encoder_row(self) -> int:
        """Return the encoder's key in the corpus file; -1 while nothing is stored."""
        row = self.corpus.connection.execute(
            "SELECT rowid FROM encoders WHERE fingerprint = ?", [self.fingerprint]
        ).fetchone()
        return -1 if row is None else int(row[0])

    def _has_any(self) -> bool:
        query = f"SELECT EXISTS (SELECT 1 FROM {self.table} WHERE encoder = ?)"
        return bool(self.corpus.connection.execute(query, [self.encoder_row()]).fetchone()[0])

    def read_stored(self, rowids: Sequence[int]) -> dict[int, Row]:
        """Return the rows that there are of the passages with these keys."""
        encoder = self.encoder_row()
        found: dict[int, Row] = {}
        for batch in batches(rowids):
            marks = ",".join("?" * len(batch))
            rows = self.corpus.connection.execute(
                f"SELECT passage, {', '.join(self.columns)} FROM {self.table}"
                f" WHERE encoder = ? AND passage IN ({marks})",
                [encoder, *batch],
            )
            found.update((row[0], row[1:]) for row in rows)
        return found

    def _encode_now(self, passages: Sequence[Passage]) -> dict[int, Row]:
        unstored = _unstored.setdefault(self.question_model, Unstored(2 * ON_THE_FLY))
        made, encoded = unstored.rows(f"{self.table} {self.fingerprint}", passages, self.encode)
        ours = sum(passage.rowid >= 0 for passage in encoded)
        if ours:
            self.note(f"Passages without {self.what}: {ours:,}, made now (ragqa index does it once).")
        self.corpus.afterwards(lambda: self._store_if_free(made))
        return made

    def _store_if_free(self, made: Mapping[int, Row]) -> None:
        """Store rows, but those of passages in somebody else's database; not while another process writes."""
        ours = {rowid: row for rowid, row in made.items() if rowid >= 0}
        if not ours or not self.corpus.writable:
            return
        try:
            with self.corpus.writing(wait_s=0), self.corpus.transaction():
                self.insert(ours)
        except BusyError:
            pass  # the question is answered all the same, and a later one stores

    def _store(self, made: Sequence[Mapping[int, Row]], beside: PassageStore | None) -> None:
        with self.corpus.transaction():
            for store, rows in zip((self, beside), made, strict=True):
                if store is not None:
                    store.insert(rows)

    def insert(self, made: Mapping[int, Row]) -> None:
        """Write rows, within a transaction of the caller's."""
        connection = self.corpus.connection
        connection.execute(
            "INSERT OR IGNORE INTO encoders (fingerprint, description) VALUES (?, ?)",
            [self.fingerprint, self.description],
        )
        encoder = self.encoder_row()
        marks = ", ".join("?" * len(self.columns))
        # A passage may have been deleted while its text was being encoded.
        connection.executemany(
            f"INSERT OR IGNORE INTO {self.table} (passage, encoder, {', '.join(self.columns)})"
            f" SELECT rowid, ?, {marks} FROM passages WHERE rowid = ?",
            [(encoder, *row, rowid) for rowid, row in made.items()],
        )


def drop_encoders(corpus: Corpus, kept: Sequence[str], tables: Sequence[str]) -> int:
    """Delete the rows of every encoder whose fingerprint is not in `kept`; return how many rows."""
    marks = ",".join("?" * len(kept))
    dropped = 0
    with corpus.writing(), corpus.transaction():
        unused = f"encoder IN (SELECT rowid FROM encoders WHERE fingerprint NOT IN ({marks}))"
        for table in tables:
            dropped += corpus.connection.execute(f"DELETE FROM {table} WHERE {unused}", kept).rowcount
        corpus.connection.execute(f"DELETE FROM encoders WHERE fingerprint NOT IN ({marks})", kept)
    return dropped


def _say(description: str) -> str:
    identity = json.loads(description)
    pooled = identity.get("pool_factor", 1)
    return f"{identity['model']} ({identity['codec']}{f', pooled by {pooled:g}' if pooled != 1 else ''})"
