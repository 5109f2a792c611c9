from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings, Spans, Vectors
from ragqa.errors import RagqaError
from ragqa.index import passage_store
from ragqa.index.token_store import StorageSettings, TokenStore, stored_encoders
from ragqa.types import Passage

PLAIN = StorageSettings(codec="int8", pool_factor=1)


class WordLengths:
    """An encoder whose vectors are the lengths of the words: quick, and wrong texts show."""

    identity = {"model": "word-lengths"}
    dimensions = 2

    def __init__(self, fail_after: int = 10**9) -> None:
        self.encoded: list[str] = []
        self.fail_after = fail_after

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        return [np.array([[len(word), 1] for word in text.split()], np.float32) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        self.encoded.extend(texts)
        if len(self.encoded) > self.fail_after:
            raise KeyboardInterrupt
        return self.encode_queries(texts)

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        raise NotImplementedError

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        raise NotImplementedError


def all_passages(corpus: Corpus) -> list[Passage]:
    rowids = corpus.connection.execute("SELECT rowid FROM passages ORDER BY rowid").fetchall()
    return corpus.passages([row[0] for row in rowids])


def test_an_interrupted_build_goes_on_where_it_stopped(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_store, "COMMIT_EVERY", 2)
    total = corpus.count("passages")
    with pytest.raises(KeyboardInterrupt):
        TokenStore(corpus, WordLengths(fail_after=2), PLAIN).build()
    encoder = WordLengths()
    store = TokenStore(corpus, encoder, PLAIN)
    assert store.missing() == total - 2
    assert store.build() == len(encoder.encoded) == total - 2
    assert store.missing() == store.build() == 0


def test_vectors_come_back_in_the_order_asked_for(corpus: Corpus) -> None:
    encoder = WordLengths()
    store = TokenStore(corpus, encoder, PLAIN)
    store.build()
    passages = all_passages(corpus)[::-1]
    matrix = store.load(passages)
    for number, passage in enumerate(passages):
        (expected,) = encoder.encode_queries([indexed_text(passage)[0]])
        got = matrix.vectors[matrix.offsets[number] : matrix.offsets[number + 1]]
        np.testing.assert_allclose(got, expected, rtol=0.01, atol=0.06)
    assert store.load([]).offsets.tolist() == [0]


def test_a_candidate_without_vectors_is_encoded_once_and_stored(corpus: Corpus) -> None:
    encoder = WordLengths()
    store = TokenStore(corpus, encoder, PLAIN)
    store.load(all_passages(corpus)[:2])
    store.load(all_passages(corpus)[:3])
    assert len(encoder.encoded) == 3
    assert store.missing() == corpus.count("passages") - 3


def test_while_another_writes_the_question_is_answered_all_the_same(db: Path) -> None:
    with Corpus.open(db) as corpus, Corpus.open(db) as other, other.writing():
        store = TokenStore(corpus, WordLengths(), PLAIN)
        assert len(store.load(all_passages(corpus)).offsets) == corpus.count("passages") + 1
        assert store.missing() == corpus.count("passages")


def test_while_another_writes_no_passage_is_encoded_twice(db: Path) -> None:
    encoder = WordLengths()
    with Corpus.open(db) as corpus, Corpus.open(db) as other:
        passages = all_passages(corpus)
        with other.writing():
            first = TokenStore(corpus, encoder, PLAIN).load(passages[:2])
            again = TokenStore(corpus, encoder, PLAIN).load(passages[:3])
        assert len(encoder.encoded) == 3
        assert np.array_equal(again.vectors[: len(first.vectors)], first.vectors)
        # Once nobody writes, what was kept is stored; another kind of row is another thing.
        store = TokenStore(corpus, encoder, PLAIN)
        store.load(passages[:3])
        assert (len(encoder.encoded), store.missing()) == (3, len(passages) - 3)
        TokenStore(corpus, encoder, StorageSettings(codec="int4", pool_factor=1)).load(passages[:1])
        assert len(encoder.encoded) == 4


def test_questions_asked_together_encode_a_passage_once(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on = threading.Event(), threading.Event()

    class Slow(WordLengths):
        def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
            started.set()
            assert go_on.wait(20)
            return super().encode_documents(texts)

    encoder, read = Slow(), TokenStore.read_stored
    looked: list[int] = []

    def read_stored(store: TokenStore, rowids: Sequence[int]) -> dict[int, passage_store.Row]:
        found = read(store, rowids)
        looked.append(len(found))
        return found

    monkeypatch.setattr(TokenStore, "read_stored", read_stored)

    def ask() -> int:
        with Corpus.open(db) as corpus:
            return len(TokenStore(corpus, encoder, PLAIN).load(all_passages(corpus)).vectors)

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask) for _ in range(3)]
        assert started.wait(20)
        while len(looked) < 3:
            time.sleep(0.01)
        # None was stored when they looked; a moment for the others to come to the encoder, if they may.
        time.sleep(0.3)
        go_on.set()
        counts = {future.result() for future in asked}
    assert looked == [0, 0, 0]
    assert len(counts) == 1
    assert len(encoder.encoded) == len(set(encoder.encoded))


def test_a_passage_that_changed_is_encoded_again_whatever_is_kept(db: Path) -> None:
    encoder = WordLengths()
    with Corpus.open(db) as corpus, Corpus.open(db) as other:
        before = all_passages(corpus)
        with other.writing():
            TokenStore(corpus, encoder, PLAIN).load(before)
        changed = replace(before[0], text=f"{before[0].text} anew")
        with other.writing():
            TokenStore(corpus, encoder, PLAIN).load([changed])
    assert encoder.encoded[-1].endswith(" anew")


def test_a_corpus_indexed_with_another_model_is_refused(corpus: Corpus) -> None:
    store = TokenStore(corpus, WordLengths(), PLAIN)
    with pytest.raises(
        RagqaError, match=r"indexed with answerai-colbert-small-v1 .* wants word-lengths \(int8\)"
    ):
        store.check()
    store.build()
    store.check()
    assert [entry["model"] for entry in stored_encoders(corpus)] == [
        "answerai-colbert-small-v1",
        "word-lengths",
    ]


def test_the_fingerprint_changes_with_all_that_decides_the_bytes(corpus: Corpus) -> None:
    encoder = load_encoder(EncoderSettings(), Compute("cpu"))
    shorter = load_encoder(EncoderSettings(document_tokens=64), Compute("cpu"))
    prints = {
        TokenStore(corpus, encoder, PLAIN).fingerprint,
        TokenStore(corpus, encoder, StorageSettings(codec="int2")).fingerprint,
        TokenStore(corpus, shorter).fingerprint,
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("title", "headings", "text", "expected"),
    [
        ("Tea", ("Green",), "Steep it.", "Tea > Green\nSteep it."),
        ("Tea", (), "# Tea\n\nSteep it.", "# Tea\n\nSteep it."),
        ("Tea", ("Green",), "## Green\n\nSteep it.", "Tea\n## Green\n\nSteep it."),
        ("", (), "Steep it.", "Steep it."),
    ],
)
def test_a_passage_is_encoded_with_its_title_and_headings(
    title: str, headings: tuple[str, ...], text: str, expected: str
) -> None:
    passage = Passage(1, "d", 0, 0, len(text), title, headings, text, "", {})
    encoded, start = indexed_text(passage)
    assert encoded == expected
    assert encoded[start:] == text


def test_its_size_is_what_status_says(corpus: Corpus) -> None:
    store = TokenStore(corpus, load_encoder(EncoderSettings(), Compute("cpu")))
    store.build()
    (size,) = [
        stored["bytes"] for stored in stored_encoders(corpus) if stored["fingerprint"] == store.fingerprint
    ]
    assert 0 < store.size() == size
