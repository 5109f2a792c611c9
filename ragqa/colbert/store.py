"""Token vectors in the corpus file: made once per passage, read back in one query per question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ragqa.colbert.encoder import TokenEncoder, Vectors
from ragqa.colbert.maxsim import Offsets
from ragqa.colbert.quantise import Codec, decode, encode
from ragqa.corpus.database import Corpus, batches
from ragqa.errors import RagqaError
from ragqa.types import Passage

# How many passages are encoded between two commits.
COMMIT_EVERY = 256


@dataclass(frozen=True, slots=True)
class TokenMatrix:
    """The token vectors of several passages: those of passage i are rows offsets[i] to offsets[i + 1]."""

    vectors: Vectors
    offsets: Offsets


def indexed_text(passage: Passage) -> tuple[str, int]:
    """Return what is encoded of a passage, and where in it the passage's own text begins.

    The title and the headings go before the text, because a passage from the middle of a document
    seldom says what it is about. A first line that repeats the last heading is not said twice.
    """
    path = [step for step in (passage.title, *passage.headings) if step]
    if path and passage.text.lstrip("# ").startswith(path[-1]):
        path.pop()
    prefix = " > ".join(path)[:300]
    return (f"{prefix}\n{passage.text}", len(prefix) + 1) if prefix else (passage.text, 0)


class TokenStore:
    """The stored token vectors of one encoder in one corpus; `note` is told what will take a while."""

    def __init__(
        self,
        corpus: Corpus,
        encoder: TokenEncoder,
        codec: Codec,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.note = note
        self.corpus = corpus
        self.encoder = encoder
        self.codec: Codec = codec

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stored bytes except the passage itself."""
        return hashlib.sha256(self._description.encode()).hexdigest()

    @cached_property
    def _description(self) -> str:
        identity = {**self.encoder.identity, "codec": self.codec, "text": "title > headings, text"}
        return json.dumps(identity, sort_keys=True)

    def missing(self) -> int:
        """Return how many passages have no vectors from this encoder yet."""
        return self.corpus.count("passages") - self._stored()

    def check(self) -> None:
        """Raise RagqaError when nothing is stored from this encoder, but something from another is."""
        if self._has_any():
            return
        other = self.corpus.connection.execute(
            "SELECT description FROM encoders WHERE EXISTS"
            " (SELECT 1 FROM token_vectors WHERE encoder = encoders.rowid)"
        ).fetchone()
        if other:
            raise RagqaError(
                f"The corpus {self.corpus.path} is indexed with {_say(other[0])}, and this config wants "
                f"{_say(self._description)}: ragqa index -c CONFIG makes its vectors."
            )

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Encode every passage that has no vectors, longest first, and return how many that were.

        Commits every COMMIT_EVERY passages: a killed run goes on from there. `on_passages` is told
        how many of how many are done. Passages of like length share a batch, so little is padding.
        """
        with self.corpus.writing():
            rows = self.corpus.connection.execute(
                "SELECT rowid FROM passages WHERE rowid NOT IN"
                " (SELECT passage FROM token_vectors WHERE encoder = ?) ORDER BY length(text) DESC, rowid",
                [self._encoder_row()],
            ).fetchall()
            rowids = [row[0] for row in rows]
            done = 0
            for batch in batches(rowids, COMMIT_EVERY):
                self._store(self.corpus.passages(batch))
                done += len(batch)
                on_passages(done, len(rowids))
        return done

    def load(self, passages: Sequence[Passage]) -> TokenMatrix:
        """Return the vectors of `passages`, in their order, read in one query.

        A passage without vectors is encoded now, and stored if nobody else is writing.
        """
        found = self._read(passages)
        lacking = [passage for passage in passages if passage.rowid not in found]
        if lacking:
            found.update(self._encode_now(lacking))
        tokens = [found[passage.rowid][0] for passage in passages]
        blobs = [found[passage.rowid][1] for passage in passages]
        if not blobs:
            return TokenMatrix(np.zeros((0, self.encoder.dimensions), np.float32), np.zeros(1, np.int64))
        vectors = decode(blobs, tokens, self.encoder.dimensions, self.codec)
        return TokenMatrix(vectors, np.concatenate([[0], np.cumsum(tokens)]).astype(np.int64))

    # -- the table ----------------------------------------------------------------------------

    def _encoder_row(self) -> int:
        row = self.corpus.connection.execute(
            "SELECT rowid FROM encoders WHERE fingerprint = ?", [self.fingerprint]
        ).fetchone()
        return -1 if row is None else int(row[0])

    def _stored(self) -> int:
        return int(
            self.corpus.connection.execute(
                "SELECT count(*) FROM token_vectors WHERE encoder = ?", [self._encoder_row()]
            ).fetchone()[0]
        )

    def _has_any(self) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM token_vectors WHERE encoder = ?)"
        return bool(self.corpus.connection.execute(query, [self._encoder_row()]).fetchone()[0])

    def _read(self, passages: Sequence[Passage]) -> dict[int, tuple[int, bytes]]:
        encoder = self._encoder_row()
        found: dict[int, tuple[int, bytes]] = {}
        for batch in batches([passage.rowid for passage in passages]):
            marks = ",".join("?" * len(batch))
            rows = self.corpus.connection.execute(
                f"SELECT passage, tokens, data FROM token_vectors WHERE encoder = ? AND passage IN ({marks})",
                [encoder, *batch],
            )
            found.update((rowid, (tokens, data)) for rowid, tokens, data in rows)
        return found

    def _encode(self, passages: Sequence[Passage]) -> dict[int, tuple[int, bytes]]:
        matrices = self.encoder.encode_documents([indexed_text(passage)[0] for passage in passages])
        return {
            passage.rowid: (len(matrix), encode(matrix, self.codec))
            for passage, matrix in zip(passages, matrices, strict=True)
        }

    def _encode_now(self, passages: Sequence[Passage]) -> dict[int, tuple[int, bytes]]:
        self.note(
            f"Passages without token vectors: {len(passages):,}. Making them now (ragqa index does it once)."
        )
        made = self._encode(passages)
        if self.corpus.writable:
            try:
                with self.corpus.writing(wait_s=0):
                    self._insert(made)
            except RagqaError:
                pass  # somebody is writing: the question is answered all the same, and the next one stores
        return made

    def _store(self, passages: Sequence[Passage]) -> None:
        self._insert(self._encode(passages))

    def _insert(self, made: dict[int, tuple[int, bytes]]) -> None:
        with self.corpus.transaction():
            self.corpus.connection.execute(
                "INSERT OR IGNORE INTO encoders (fingerprint, description) VALUES (?, ?)",
                [self.fingerprint, self._description],
            )
            encoder = self._encoder_row()
            # A passage may have been deleted while its text was being encoded.
            self.corpus.connection.executemany(
                "INSERT OR IGNORE INTO token_vectors (passage, encoder, tokens, data)"
                " SELECT rowid, ?, ?, ? FROM passages WHERE rowid = ?",
                [(encoder, tokens, data, rowid) for rowid, (tokens, data) in made.items()],
            )


def stored_encoders(corpus: Corpus) -> list[dict[str, Any]]:
    """Return what is stored per encoder: model, codec, passages, tokens, bytes."""
    rows = corpus.connection.execute(
        "SELECT e.fingerprint, e.description, count(*), sum(v.tokens), sum(length(v.data))"
        " FROM encoders e JOIN token_vectors v ON v.encoder = e.rowid GROUP BY e.rowid ORDER BY e.rowid"
    )
    return [
        {
            "fingerprint": fingerprint,
            "model": json.loads(description)["model"],
            "codec": json.loads(description)["codec"],
            "passages": passages,
            "token_vectors": tokens,
            "bytes": size,
        }
        for fingerprint, description, passages, tokens, size in rows
    ]


def _say(description: str) -> str:
    identity = json.loads(description)
    return f"{identity['model']} ({identity['codec']})"
