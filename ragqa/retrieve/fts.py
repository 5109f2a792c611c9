"""Full text: BM25 over titles, headings and text, with SQLite's FTS5.

The index is a table over the passages that triggers keep in step with them, one per tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field

from ragqa.config import Strict
from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError, UsageError
from ragqa.language.match import match_expression, match_terms
from ragqa.language.stopwords import STOP_LISTS
from ragqa.retrieve.ranking import hits
from ragqa.search.contracts import Resources
from ragqa.types import Hit

if TYPE_CHECKING:
    from ragqa.matching.terms import TermMatch
    from ragqa.types import Matches

STAGE = "fts"


class FieldWeights(Strict):
    """How much a match in each field counts, relative to the others (BM25's column weights)."""

    title: float = Field(default=2.0, ge=0)
    headings: float = Field(default=1.0, ge=0)
    text: float = Field(default=1.0, ge=0)


class FullTextSettings(Strict):
    """`tokenizer` is FTS5's own setting; `stop_words` names a list or "none"."""

    tokenizer: str = "porter unicode61"
    stop_words: Literal["english", "none"] = "english"
    weights: FieldWeights = FieldWeights()


class FullTextRetriever:
    """The first stage `fts`. Scores are BM25, higher is better."""

    Settings: ClassVar[type[BaseModel]] = FullTextSettings
    filters: ClassVar[bool] = True

    def __init__(self, settings: FullTextSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self.corpus = resources.corpus
        self.table = _table(settings.tokenizer)
        self._kept: tuple[frozenset[int], str] | None = None

    @classmethod
    def shares(cls, settings: FullTextSettings) -> bool:
        return True

    def match_expression(self, query: str) -> str:
        """Return what FTS5 is asked for `query`."""
        return match_expression(query, STOP_LISTS[self.settings.stop_words])

    def search(self, query: str, k: int) -> list[Hit]:
        self.prepare()
        expression = self.match_expression(query)
        if not expression:
            return []
        weights = self.settings.weights
        among, keys = self._among()
        rows = self.corpus.connection.execute(
            f"SELECT rowid, -bm25({self.table}, ?, ?, ?) AS score FROM {self.table}"
            f" WHERE {self.table} MATCH ?{among} ORDER BY score DESC, rowid LIMIT ?",
            [weights.title, weights.headings, weights.text, expression, *keys, k],
        ).fetchall()
        return hits(self.corpus, [row[0] for row in rows], [row[1] for row in rows], STAGE)

    def _among(self) -> tuple[str, list[str]]:
        """Return what restricts a query to the passages that the condition allows, and what that binds."""
        allowed = self.resources.allowed()
        if allowed is None:
            return "", []
        if self._kept is None or self._kept[0] is not allowed:
            self._kept = allowed, json.dumps(sorted(allowed))
        # The plus keeps SQLite from asking the index anew for each key.
        return " AND +rowid IN (SELECT value FROM json_each(?))", [self._kept[1]]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        """Return what each term found. BM25 is a sum over terms: each one's share is what it gives alone."""
        from ragqa.matching.terms import term_matches

        if self.missing():
            return [None] * len(hits)
        terms = match_terms(query, STOP_LISTS[self.settings.stop_words])
        if not terms:
            return [None] * len(hits)
        found = {term: self._term(term, hits) for term in terms}
        strongest = max((match.share for of in found.values() for match in of.values()), default=0.0)
        return [
            term_matches(
                STAGE,
                query,
                hit.passage,
                {term: of[hit.passage.rowid] for term, of in found.items()},
                strongest,
            )
            for hit in hits
        ]

    def _term(self, term: str, hits: Sequence[Hit]) -> dict[int, TermMatch]:
        """Return what one term is worth in each of these passages, by their keys."""
        from ragqa.matching.terms import TermMatch, marked, marks

        texts = [text for hit in hits for text in _fields(hit)]
        opening, closing = marks(texts)
        weights = self.settings.weights
        found = {hit.passage.rowid: TermMatch() for hit in hits}
        columns = ", ".join(f"highlight({self.table}, {column}, ?, ?)" for column in range(3))
        # The plus keeps SQLite from asking the index anew for each key.
        rows = self.corpus.connection.execute(
            f"SELECT rowid, -bm25({self.table}, ?, ?, ?), {columns} FROM {self.table}"
            f" WHERE {self.table} MATCH ? AND +rowid IN (SELECT value FROM json_each(?))",
            [
                *(weights.title, weights.headings, weights.text),
                *(opening, closing) * 3,
                f'"{term}"',
                json.dumps(list(found)),
            ],
        )
        for rowid, share, *fields in rows:
            found[rowid] = TermMatch(share, *(marked(field, opening, closing) for field in fields))
        return found

    def prepare(self) -> None:
        """Make the index where there is none: it takes a second at most for what fits a laptop."""
        if not _exists(self.corpus, self.table):
            self.build()

    def missing(self) -> int:
        """Return how many passages are not indexed: none or all, since triggers keep an index whole."""
        return 0 if _exists(self.corpus, self.table) else self.corpus.count("passages")

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of the index, none where it is not made yet."""
        if not _exists(self.corpus, self.table):
            return {}
        query = f"SELECT coalesce(sum(length(block)), 0) FROM {self.table}_data"
        return {self.table: int(self.corpus.connection.execute(query).fetchone()[0])}

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Make the index and its triggers; raises UsageError for a tokenizer that FTS5 lacks."""
        with self.corpus.writing():
            if _exists(self.corpus, self.table):
                return 0
            total = self.corpus.count("passages")
            try:
                with self.corpus.transaction():
                    for statement in _statements(self.table, self.settings.tokenizer):
                        self.corpus.connection.execute(statement)
            except sqlite3.OperationalError as error:
                if "tokenize" in str(error):
                    raise UsageError(
                        f"FTS5 has no tokenizer {self.settings.tokenizer!r}: {error}."
                    ) from error
                raise RagqaError(f"The full-text index could not be built: {error}.") from error
        on_passages(total, total)
        return total


def full_text_indexes(corpus: Corpus) -> list[dict[str, str]]:
    """Return the full-text indexes that the corpus has: table and tokenizer."""
    rows = corpus.connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'passages_fts_%'"
        " AND sql LIKE 'CREATE VIRTUAL TABLE%'"
    )
    return [{"table": name, "tokenizer": sql.partition("tokenize='")[2][:-2]} for name, sql in rows]


def _fields(hit: Hit) -> tuple[str, str, str]:
    """Return the texts of a passage that the index holds."""
    passage = hit.passage
    return passage.title, "\n".join(passage.headings), passage.text


def _table(tokenizer: str) -> str:
    digest = hashlib.sha256(" ".join(tokenizer.split()).encode()).hexdigest()[:8]
    return f"passages_fts_{digest}"


def _exists(corpus: Corpus, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = ?"
    return corpus.connection.execute(query, [f"{table}_updated"]).fetchone() is not None


def _statements(table: str, tokenizer: str) -> list[str]:
    quoted = tokenizer.replace("'", "''")
    insert = (
        f"INSERT INTO {table} (rowid, title, headings, text)"
        " VALUES (new.rowid, new.title, new.headings, new.text);"
    )
    delete = (
        f"INSERT INTO {table} ({table}, rowid, title, headings, text)"
        " VALUES ('delete', old.rowid, old.title, old.headings, old.text);"
    )
    return [
        f"CREATE VIRTUAL TABLE {table} USING fts5 (title, headings, text,"
        f" content='passages', content_rowid='rowid', tokenize='{quoted}')",
        f"INSERT INTO {table} ({table}) VALUES ('rebuild')",
        f"CREATE TRIGGER {table}_inserted AFTER INSERT ON passages BEGIN {insert} END",
        f"CREATE TRIGGER {table}_deleted AFTER DELETE ON passages BEGIN {delete} END",
        f"CREATE TRIGGER {table}_updated AFTER UPDATE OF title, headings, text ON passages"
        f" BEGIN {delete} {insert} END",
    ]
