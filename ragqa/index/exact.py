"""MaxSim over every stored token vector: the full ColBERT ranking, with no index to build."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from ragqa.encoders.tokens import Vectors
from ragqa.index.maxsim import Matrix, Offsets, best_of, offsets_of
from ragqa.index.quantise import Quantised, join
from ragqa.index.token_store import TABLE, TokenStore

# Token vectors whose products are in memory at a time, 13 numbers each for a question of 13 tokens.
BLOCK = 65536


@dataclass(frozen=True, slots=True)
class _Block:
    """Passages whose vectors are multiplied together."""

    rowids: list[int]
    vectors: Quantised
    offsets: Offsets


class ExactSearch:
    """Scores all passages of a TokenStore; keeps them packed in memory while the file is unchanged."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self._kept: tuple[tuple[int, int], Set[int] | None, list[_Block]] | None = None

    def scores(
        self, questions: Sequence[Vectors], allowed: Set[int] | None = None
    ) -> tuple[list[int], Matrix]:
        """Return the passages' keys and their MaxSim with each question, shape (passages, questions).

        With `allowed`, those of the passages with these keys; the others are not even read.
        """
        blocks = self._blocks(allowed)
        rowids = [rowid for block in blocks for rowid in block.rowids]
        query = np.concatenate([*questions, np.zeros((0, self.store.encoder.dimensions), np.float32)])
        ends = np.cumsum([len(question) for question in questions])
        result = np.empty((len(rowids), len(questions)), np.float32)
        start = 0
        for block in blocks:
            matches = best_of(block.vectors.products(query), block.offsets)
            for number, part in enumerate(np.split(matches, ends[:-1], axis=1)):
                result[start : start + len(block.rowids), number] = part.sum(axis=1)
            start += len(block.rowids)
        return rowids, result

    def _blocks(self, allowed: Set[int] | None) -> list[_Block]:
        state = self.store.corpus.state()
        if self._kept is None or self._kept[0] != state or self._kept[1] is not allowed:
            self._kept = (state, allowed, self._read(allowed))
        return self._kept[2]

    def _read(self, allowed: Set[int] | None) -> list[_Block]:
        among = "" if allowed is None else " AND passage IN (SELECT value FROM json_each(?))"
        keys = [] if allowed is None else [json.dumps(sorted(allowed))]
        rows = self.store.corpus.connection.execute(
            f"SELECT passage, tokens, data FROM {TABLE} WHERE encoder = ?{among} ORDER BY passage",
            [self.store.encoder_row(), *keys],
        )
        blocks: list[_Block] = []
        pending: list[tuple[int, int, bytes]] = []
        size = 0
        for row in rows:
            pending.append(row)
            size += row[1]
            if size >= BLOCK:
                blocks.append(self._block(pending))
                pending, size = [], 0
        return [*blocks, self._block(pending)] if pending else blocks

    def _block(self, rows: Sequence[tuple[int, int, bytes]]) -> _Block:
        rowids, tokens, blobs = zip(*rows, strict=True)
        vectors = join(blobs, tokens, self.store.encoder.dimensions, self.store.storage.codec)
        return _Block(list(rowids), vectors, offsets_of(tokens))
