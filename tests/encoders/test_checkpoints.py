"""Checkpoints of every format through both engines: same ranking, same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.catalogue import TOKEN_MODELS
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder
from ragqa.encoders.tokens import EncoderSettings, TokenEncoder
from tests.checkpoints import DIMENSIONS, FORMATS, QUESTIONS, TEXTS

pytestmark = pytest.mark.needs("plaid")

CPU = Compute("cpu", "float32")


def scores(encoder: TokenEncoder) -> np.ndarray:
    documents = encoder.encode_documents(TEXTS)
    return np.array(
        [
            [float((question @ document.T).max(axis=1).sum()) for document in documents]
            for question in encoder.encode_queries(QUESTIONS)
        ]
    )


# The dimensions of the checkpoints that come with ragqa.
OWN = {name: model.tokens for name, model in TOKEN_MODELS.items()}


@pytest.fixture(params=[*FORMATS, "embedded", "embedded-light"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make = FORMATS.get(request.param)
    return request.param if make is None else str(make(tmp_path / request.param))


def test_both_engines_rank_alike(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    # On the CPU the embedded ones would be run in 8-bit integers (test_embedded.py).
    ours = SentenceTransformersEncoder(EncoderSettings(model=model), "cpu", "float32")
    theirs = load_encoder(EncoderSettings(model=model, engine="ragatouille"), CPU)
    assert ours.dimensions == theirs.dimensions == OWN.get(model, DIMENSIONS)
    assert dict(ours.identity) == dict(theirs.identity)
    one, other = scores(ours), scores(theirs)
    np.testing.assert_allclose(one, other, rtol=1e-2)
    assert (np.argsort(-one) == np.argsort(-other)).all()
    for mine, its in zip(ours.encode_documents(TEXTS), theirs.encode_documents(TEXTS), strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-4)
    assert capfd.readouterr().out == ""


def test_vectors_know_their_characters_in_both_engines(model: str) -> None:
    for engine in ("sentence-transformers", "ragatouille"):
        encoder = load_encoder(EncoderSettings(model=model, engine=engine), CPU)
        for text, spans, matrix in zip(
            TEXTS, encoder.document_spans(TEXTS), encoder.encode_documents(TEXTS), strict=True
        ):
            assert len(spans) == len(matrix)
            said = "".join(text[start:end] for start, end in spans)
            assert "".join(char for char in said if char.isalnum()) == "".join(filter(str.isalnum, text))
        for text, spans, matrix in zip(
            QUESTIONS, encoder.query_spans(QUESTIONS), encoder.encode_queries(QUESTIONS), strict=True
        ):
            assert len(spans) == len(matrix)
            # Markers, special tokens and what the question is filled up with come from nowhere.
            assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "")
            assert tuple(spans[0]) == tuple(spans[-1]) == (0, 0)


def test_a_question_is_filled_up_where_the_checkpoint_was_trained_so(tmp_path: Path) -> None:
    encoder = load_encoder(EncoderSettings(model=str(FORMATS["stanford"](tmp_path / "stanford"))), CPU)
    assert [len(matrix) for matrix in encoder.encode_queries(QUESTIONS)] == [24, 24, 24]


@pytest.mark.parametrize(
    ("format", "wanted", "lengths"),
    [
        ("stanford", 12, [12, 12, 12]),
        ("pylate", 12, [12, 12, 12]),
        ("native", 5, [5, 5, 5]),
        # Filled up to 8, and cut at 30 by itself.
        ("least", 0, None),
        ("least", 6, [6, 6, 6]),
    ],
)
def test_a_question_is_as_long_as_the_config_wants(
    format: str, wanted: int, lengths: list[int] | None, tmp_path: Path
) -> None:
    model = str(FORMATS[format](tmp_path / format))
    for engine in ("sentence-transformers", "ragatouille"):
        encoder = load_encoder(EncoderSettings(model=model, engine=engine, query_tokens=wanted), CPU)
        found = [len(matrix) for matrix in encoder.encode_queries(QUESTIONS)]
        assert found == [len(spans) for spans in encoder.query_spans(QUESTIONS)]
        if lengths is not None:
            assert found == lengths
        else:
            (long,) = encoder.encode_queries(["green tea " * 50])
            (short,) = encoder.encode_queries(["tea"])
            assert (len(short), len(long)) == (8, 30)


def test_lower_precision_changes_the_rounding_and_not_the_ranking(tmp_path: Path) -> None:
    settings = EncoderSettings(model=str(FORMATS["native"](tmp_path / "native")))
    exact = scores(load_encoder(settings, CPU))
    for engine in ("sentence-transformers", "ragatouille"):
        rounded = load_encoder(settings.model_copy(update={"engine": engine}), Compute("cpu", "bfloat16"))
        np.testing.assert_allclose(scores(rounded), exact, rtol=0.05)
