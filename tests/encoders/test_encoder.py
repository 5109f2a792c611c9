from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest

from ragqa.config import StageSettings
from ragqa.encoders import onnx_engine, onnx_graph
from ragqa.encoders.device import Compute, resolve_device
from ragqa.encoders.embedded.files import verified_weights
from ragqa.encoders.embedded.minilm import MINILM
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.onnx_engine import LeanPoolingEncoder
from ragqa.encoders.onnx_transformer import batches_by_length
from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder
from ragqa.encoders.tokens import EncoderSettings, TokenEncoder
from ragqa.errors import RagqaError, UsageError
from ragqa.search.registry import check_stages

LIGHT = EncoderSettings(model="embedded-light")
TEXTS = ["Green tea, steeped at 70 degrees!", "A flat tyre is mended with a patch."]


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return load_encoder(LIGHT, Compute("cpu"))


@pytest.mark.needs("torch")
def test_the_embedded_vectors_are_those_of_the_plain_transformer(encoder: TokenEncoder) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(verified_weights(MINILM).parent)
    model = AutoModel.from_pretrained(verified_weights(MINILM).parent)
    for text, vectors in zip(TEXTS, encoder.encode_queries(TEXTS), strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden, dim=-1).numpy()
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_documents_have_a_vector_per_token_but_none_for_punctuation(encoder: TokenEncoder) -> None:
    queries = encoder.encode_queries(TEXTS)
    for text, document, query in zip(TEXTS, encoder.encode_documents(TEXTS), queries, strict=True):
        assert len(document) == len(query) - sum(char in string.punctuation for char in text)
        assert (document @ query.T).max(axis=1).min() > 0.98


def test_every_document_vector_knows_its_characters(encoder: TokenEncoder) -> None:
    vectors = encoder.encode_documents(TEXTS)
    for text, matrix, spans in zip(TEXTS, vectors, encoder.document_spans(TEXTS), strict=True):
        assert len(matrix) == len(spans)
        words = "".join(text[start:end] for start, end in spans if end)
        assert words == "".join(char for char in text if char.isalnum())


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("model", "query_tokens"), [("embedded-light", 0), ("embedded-light", 8)])
def test_the_lean_question_path_gives_the_engines_own_vectors(model: str, query_tokens: int) -> None:
    settings = EncoderSettings(model=model, query_tokens=query_tokens)
    lean = load_encoder(settings, Compute("cpu"))
    engine = SentenceTransformersEncoder(settings, "cpu")
    questions = [*TEXTS, "", "what is shot-scraper? ünïcode 語 🙂", "long " * 700]
    assert lean.identity == engine.identity
    for ours, theirs in zip(lean.encode_queries(questions), engine.encode_queries(questions), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    for ours, theirs in zip(lean.document_spans(questions), engine.document_spans(questions), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(lean.query_spans(questions), engine.query_spans(questions), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.needs("torch")
def test_a_checkpoint_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(RagqaError, match="nowhere/at-all cannot be loaded"):
        load_encoder(EncoderSettings(model="nowhere/at-all"), Compute("cpu"))


@pytest.mark.needs("torch")
def test_unknown_engines_and_devices_are_said() -> None:
    for wrong in ({"engine": "steam"}, {"query_tokens": 513}, {"codec": "int3"}, {"pool_factor": 0.5}):
        with pytest.raises(UsageError, match="The reranker 'colbert' is wrong"):
            check_stages(StageSettings(type="fts"), StageSettings(type="colbert", **wrong))
    with pytest.raises(UsageError, match="no device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(UsageError, match=r"cuda:99 is not on this machine. There is: cpu"):
        resolve_device("cuda:99")


def test_batches_hold_texts_of_like_length_and_no_more_tokens_than_asked() -> None:
    lengths = [3, 500, 20, 21, 4, 700, 1]
    batches = list(batches_by_length(lengths, 60))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert batches[:2] == [[5], [1]]  # longer than a batch may be: alone
    assert [[lengths[place] for place in batch] for batch in batches[2:]] == [[21, 20], [4, 3, 1]]


def test_padding_leaves_the_vectors_as_they_are() -> None:
    texts = ["A flat tyre.", *TEXTS, "word " * 40, ""]
    encoder = LeanPoolingEncoder(LIGHT)
    tokens, pooled = encoder.encode_both(texts)
    for place, text in enumerate(texts):
        (alone,), mean = encoder.encode_both([text])
        np.testing.assert_allclose(tokens[place], alone, atol=1e-5)
        np.testing.assert_allclose(pooled[place], mean[0], atol=1e-5)
    assert encoder.encode_both([])[0] == []


@pytest.mark.needs("torch")
def test_a_faster_engine_takes_over_when_there_is_much_to_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def engine() -> SentenceTransformersEncoder:
        loaded.append("engine")
        return SentenceTransformersEncoder(LIGHT, "cpu")

    monkeypatch.setattr(onnx_engine, "WORTH_LOADING", 30)
    # A few at a time are the sentences of answers, and a long process would load it for them in the end.
    encoder = LeanPoolingEncoder(LIGHT, engine)
    for _ in range(4):
        encoder.encode_documents(TEXTS)
    assert loaded == []
    monkeypatch.setattr(onnx_engine, "FEW", 1)
    for _ in range(4):
        encoder.encode_documents(TEXTS)
    assert loaded == ["engine"]


def test_texts_that_another_process_encodes_count_as_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine, "WORTH_LOADING", 10)
    monkeypatch.setattr(onnx_engine, "FEW", 1)
    encodes, passes = LeanPoolingEncoder(LIGHT), LeanPoolingEncoder(LIGHT)
    encodes.encode_documents(TEXTS)
    passes.pass_over(TEXTS)
    assert passes.encoded == encodes.encoded > onnx_engine.WORTH_LOADING


def test_a_faster_engine_is_given_many_texts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bulk:
        def encode_both(self, texts: object) -> object:
            return texts

        encode_documents = encode_both

    monkeypatch.setattr(onnx_engine, "WORTH_LOADING", -1)
    monkeypatch.setattr(onnx_engine, "FEW", 20)
    encoder = LeanPoolingEncoder(LIGHT, Bulk)  # type: ignore[arg-type]
    encoder.encode_documents(TEXTS)
    monkeypatch.setattr(encoder, "_ids", None)
    many = TEXTS * 10
    assert encoder.encode_both(many) is many  # type: ignore[comparison-overlap]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = verified_weights(MINILM)
    monkeypatch.setattr(onnx_graph, "user_cache_path", lambda name: tmp_path / "cache")
    made = onnx_graph.cached_graph(weights, MINILM)
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_bytes() == made == onnx_graph.cached_graph(weights, MINILM)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(onnx_graph, "user_cache_path", lambda name: tmp_path / "file" / "cache")
    assert onnx_graph.cached_graph(weights, MINILM) == made
