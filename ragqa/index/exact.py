"""MaxSim over every stored token vector: the full ColBERT ranking, with no index to build.

The rule. All vectors are in memory, packed, in blocks of passages, and a question is multiplied with each.
From the second question on (a process that is asked once has no use for it) the blocks are unpacked to a
byte a dimension and multiplied in integers; of what that puts first, MORE passages more than are wanted are
scored again as they are stored. So the order and the scores are those of the stored vectors, but for a
passage that the rounding of the question moved from the first k to behind k + MORE.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ragqa.encoders.device import cores
from ragqa.encoders.tokens import Vectors
from ragqa.index.best import best
from ragqa.index.maxsim import Matrix, Offsets, best_across, best_of, offsets_of
from ragqa.index.quantise import Quantised, join
from ragqa.index.token_products import RoughProducts
from ragqa.index.token_store import TABLE, TokenStore

# Token vectors in a block, 13 products each for a question of 13 tokens.
BLOCK = 65536
# So many vectors may be unpacked, a byte a dimension: those of 30,000 passages or so, 400 MB at 96
# dimensions.
UNPACKED = 4_000_000
# Passages that are scored again besides those that are wanted.
MORE = 50


@dataclass(frozen=True, slots=True)
class _Block:
    """Passages whose vectors are multiplied together."""

    rowids: list[int]
    vectors: Quantised
    offsets: Offsets

    def part(self, places: Sequence[int]) -> tuple[Quantised, Offsets]:
        """Return the vectors of the passages at these places, one after the other."""
        spans = [np.arange(self.offsets[place], self.offsets[place + 1]) for place in places]
        rows = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        picked = Quantised(
            self.vectors.scales[rows],
            self.vectors.integers[rows],
            self.vectors.dimensions,
            self.vectors.codec,
        )
        return picked, offsets_of([len(span) for span in spans])


@dataclass(slots=True)
class _Kept:
    """What is in memory of one state of the corpus, for the passages `allowed`."""

    state: tuple[int, int]
    allowed: Set[int] | None
    blocks: list[_Block]
    rowids: Offsets
    rough: list[RoughProducts] | None = None
    asked: bool = False


class ExactSearch:
    """Scores all passages of a TokenStore; keeps them packed in memory while the file is unchanged."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self._kept: _Kept | None = None

    def search(
        self, questions: Sequence[Vectors], k: int, allowed: Set[int] | None = None
    ) -> list[tuple[list[int], list[float]]]:
        """Return, per encoded question, the keys and the MaxSim of the `k` best passages, best first.

        With `allowed`, of the passages with these keys; the others are not even read.
        """
        kept = self._load(allowed)
        rowids = kept.rowids
        if not self._may_be_rough(kept, len(rowids), k):
            kept.asked = True
            scores = self._scores(kept, questions)
            places = [best(column, k) for column in scores.T]
            return [
                (rowids[found].tolist(), column[found].tolist())
                for found, column in zip(places, scores.T, strict=True)
            ]
        if kept.rough is None:
            kept.rough = [RoughProducts(block.vectors) for block in kept.blocks]
        rough = self._scores(kept, questions, kept.rough)
        found = []
        for question, column in zip(questions, rough.T, strict=True):
            places_again = np.sort(np.array(best(column, k + MORE), np.int64))
            exact = self._again(kept, places_again, question)
            order = best(exact, k)
            found.append((rowids[places_again[order]].tolist(), exact[order].tolist()))
        return found

    @staticmethod
    def _may_be_rough(kept: _Kept, passages: int, k: int) -> bool:
        vectors = sum(len(block.vectors.scales) for block in kept.blocks)
        whole = any(block.vectors.codec == "int8" for block in kept.blocks)
        return kept.asked and not whole and vectors <= UNPACKED and k + MORE < passages

    def _scores(
        self, kept: _Kept, questions: Sequence[Vectors], rough: Sequence[RoughProducts] | None = None
    ) -> Matrix:
        """Return the MaxSim of each passage with each question, shape (passages, questions)."""
        query = np.concatenate([*questions, np.zeros((0, self.store.encoder.dimensions), np.float32)])
        firsts = offsets_of([len(question) for question in questions])[:-1]

        def score(number: int) -> Matrix:
            block = kept.blocks[number]
            if rough is None:
                matches = best_of(block.vectors.products(query), block.offsets).T
            else:
                matches = best_across(rough[number](query), block.offsets)
            sums: Matrix = np.add.reduceat(matches, firsts, axis=0).T
            return sums

        numbers = range(len(kept.blocks))
        if rough is None:
            # These products use all cores by themselves.
            parts = [score(number) for number in numbers]
        else:
            with ThreadPoolExecutor(cores()) as threads:
                parts = list(threads.map(score, numbers))
        return np.concatenate([*parts, np.zeros((0, len(questions)), np.float32)])

    @staticmethod
    def _again(kept: _Kept, places: Offsets, question: Vectors) -> Matrix:
        """Return the MaxSim of the passages at these places, in their order, as they are stored."""
        found, start = [], 0
        for block in kept.blocks:
            stop = start + len(block.rowids)
            inside = places[(places >= start) & (places < stop)] - start
            if len(inside):
                vectors, offsets = block.part(inside.astype(int).tolist())
                found.append(best_of(vectors.products(question), offsets).sum(axis=1))
            start = stop
        return np.concatenate([*found, np.zeros(0, np.float32)])

    def _load(self, allowed: Set[int] | None) -> _Kept:
        state = self.store.corpus.state()
        if self._kept is None or self._kept.state != state or self._kept.allowed is not allowed:
            blocks = self._read(allowed)
            rowids = np.array([rowid for block in blocks for rowid in block.rowids], np.int64)
            self._kept = _Kept(state, allowed, blocks, rowids)
        return self._kept

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
