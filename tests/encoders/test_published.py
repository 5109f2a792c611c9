"""Checkpoints of a hub against scores that are published for them; left out where there is no hub."""

from __future__ import annotations

import os

import pytest

from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError

pytestmark = [pytest.mark.needs("torch"), pytest.mark.slow]

QUESTION = "Which planet is known as the Red Planet?"
TEXTS = [
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
]
PUBLISHED = {
    "answerdotai/answerai-colbert-small-v1": [30.569, 31.490, 31.303, 31.307],
    "colbert-ir/colbertv2.0": [12.797, 27.194, 23.850, 25.565],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_scores_are_those_that_are_published(name: str) -> None:
    # A folder with the models by their names, or the hub's cache, or the hub.
    folder = os.environ.get("RAGQA_TEST_CHECKPOINTS")
    model = f"{folder}/{name}" if folder else name
    try:
        encoder = load_encoder(EncoderSettings(model=model), Compute("cpu", "float32"))
    except RagqaError as error:
        pytest.skip(f"{name} is not here: {error}")
    (question,) = encoder.encode_queries([QUESTION])
    found = [(question @ text.T).max(axis=1).sum() for text in encoder.encode_documents(TEXTS)]
    assert found == pytest.approx(PUBLISHED[name], abs=0.01)
