from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from ragqa.config import StageSettings
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded import files
from ragqa.encoders.embedded.catalogue import MODELS, NAMES, PAIR_MODELS, TEXT_MODELS, TOKEN_MODELS
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.embedded.files import projection, verified_weights
from ragqa.encoders.embedded.vocabulary import tokenizer
from ragqa.encoders.embedder import EmbedderSettings, load_embedder
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder
from ragqa.errors import RagqaError, UsageError
from ragqa.search.registry import check_stages

CPU = Compute("cpu")
TEXTS = ["Green tea, steeped at 70 degrees!", "A flat tyre is mended with a patch.", "", "ünïcode 語 🙂"]


def test_every_name_means_one_model_for_each_task() -> None:
    assert set(TEXT_MODELS) | set(TOKEN_MODELS) | set(PAIR_MODELS) == set(NAMES)
    assert all("embedded" in known for known in (TEXT_MODELS, TOKEN_MODELS, PAIR_MODELS))
    assert {model for models in NAMES.values() for model in models} == set(MODELS)
    assert len({model.weights for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_weights_that_are_others_are_refused(model: EmbeddedModel) -> None:
    assert verified_weights(model).is_file()
    with pytest.raises(RagqaError, match=rf"{model.name} .* are not the ones that came with ragqa"):
        verified_weights(replace(model, weights="0" * 64))
    with pytest.raises(RagqaError, match=r"cannot be read: No such file or directory"):
        verified_weights(replace(model, file="nowhere.onnx"))


def test_models_that_are_not_there_at_all_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(RagqaError, match="install ragqa anew"):
        files.weights_folder()


@pytest.mark.parametrize(
    ("stage", "wrong"),
    [
        ({"type": "dense", "model": "embedded-colbert-small"}, "embedded-bge-small"),
        ({"type": "colbert-index", "model": "embedded-bge-small"}, "embedded-colbert-small"),
        ({"type": "dense", "model": "embedded-adapted"}, "embedded-light"),
        ({"type": "dense", "query_prompt": "Q: "}, "take none"),
    ],
)
def test_a_name_for_another_task_comes_with_those_for_this_one(stage: dict[str, str], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        check_stages(StageSettings(**stage), StageSettings(type="none"))


@pytest.mark.parametrize("name", ["embedded", "embedded-light"])
def test_a_text_has_the_same_vectors_beside_whatever_other_texts(name: str) -> None:
    encoder = load_encoder(EncoderSettings(model=name), CPU)
    embedder = load_embedder(EmbedderSettings(model=name), CPU)
    together, rows = encoder.encode_documents(TEXTS), embedder.embed_documents(TEXTS)
    for text, tokens, row in zip(TEXTS, together, rows, strict=True):
        # Models of 8-bit integers round by the largest number in a batch: theirs hold one text.
        np.testing.assert_allclose(tokens, encoder.encode_documents([text])[0], atol=1e-5)
        np.testing.assert_allclose(row, embedder.embed_documents([text])[0], atol=1e-5)
    assert encoder.encode_documents([]) == []
    assert embedder.embed_documents([]).shape == embedder.embed_queries([]).shape == (0, embedder.dimensions)
    if isinstance(encoder, PoolingEncoder):
        assert encoder.encode_both([])[1].shape == (0, embedder.dimensions)


def test_a_document_of_the_colbert_has_a_marker_and_none_of_its_punctuation() -> None:
    encoder = load_encoder(EncoderSettings(), CPU)
    for text, matrix, spans in zip(
        TEXTS, encoder.encode_documents(TEXTS), encoder.document_spans(TEXTS), strict=True
    ):
        pieces = [
            piece
            for piece in tokenizer().encode(text, add_special_tokens=False).tokens
            if piece not in string.punctuation
        ]
        # [CLS], the marker and [SEP] besides.
        assert len(matrix) == len(spans) == len(pieces) + 3
        assert spans[:2].tolist() == [[0, 0], [0, 0]]
        assert spans[-1].tolist() == [0, 0]
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)
    for text, matrix, spans in zip(
        TEXTS, encoder.encode_queries(TEXTS), encoder.query_spans(TEXTS), strict=True
    ):
        assert len(matrix) == len(spans) == len(tokenizer().encode(text).ids) + 1


@pytest.mark.needs("torch")
def test_integers_and_the_floating_point_numbers_that_they_stand_for_agree() -> None:
    from ragqa.encoders.embedder import SentenceTransformersEmbedder
    from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder

    lean, engine = load_encoder(EncoderSettings(), CPU), SentenceTransformersEncoder(EncoderSettings(), "cpu")
    assert lean.identity == engine.identity
    assert lean.dimensions == engine.dimensions
    for encode in ("encode_queries", "encode_documents"):
        for ours, theirs in zip(getattr(lean, encode)(TEXTS), getattr(engine, encode)(TEXTS), strict=True):
            assert (ours * theirs).sum(axis=1).min() > 0.95
    for spans in ("query_spans", "document_spans"):
        for ours, theirs in zip(getattr(lean, spans)(TEXTS), getattr(engine, spans)(TEXTS), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    one = load_embedder(EmbedderSettings(), CPU)
    other = SentenceTransformersEmbedder(EmbedderSettings(), Compute("cpu", "float32"))
    assert one.identity == other.identity
    for embed in ("embed_queries", "embed_documents"):
        assert (getattr(one, embed)(TEXTS) * getattr(other, embed)(TEXTS)).sum(axis=1).min() > 0.95


@pytest.mark.needs("torch")
def test_a_cache_that_cannot_be_written_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ragqa.encoders.unpacked import checkpoint_folder

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *args, **kwargs: str(tmp_path / "file"))
    with pytest.raises(RagqaError, match=r"answerai-colbert-small-v1 cannot be written"):
        checkpoint_folder(COLBERT_SMALL)


@pytest.mark.needs("torch")
def test_the_cross_encoder_reads_question_and_passage_as_transformers_does() -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from ragqa.encoders.unpacked import checkpoint_folder

    folder = checkpoint_folder(PAIR_MODELS["embedded"])
    question = "How warm is green tea steeped?"
    texts = [*TEXTS, "word " * 700]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = AutoTokenizer.from_pretrained(folder)(
        [question] * len(texts),
        texts,
        truncation="only_second",
        max_length=512,
        padding=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = model(**encoded).logits[:, 0].tolist()
    found = LeanPairs("embedded").scores(question, texts)
    assert found[0] > 0 > max(found[1:])
    np.testing.assert_allclose(found, expected, atol=1)
    assert LeanPairs("embedded").scores(question, []) == []


def test_a_projection_that_is_another_is_refused() -> None:
    assert projection(replace(COLBERT_SMALL, projection="")) is None
    with pytest.raises(RagqaError, match="projection of the embedded model"):
        projection(replace(COLBERT_SMALL, projection="0" * 64))
