from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.train.negatives import Example
from ragqa.train.training import (
    TrainingSettings,
    last_checkpoint,
    load_base,
    merge,
    save_model,
    train_model,
)
from tests.checkpoints import FORMATS, QUESTIONS, TEXTS

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Compute("cpu", "float32")
EXAMPLES = [
    Example(f"{QUESTIONS[place % 3]} {'abcdefghijkl'[place]}", (f"{TEXTS[place % 3]} {place}", TEXTS[3]))
    for place in range(12)
]


def few_steps(**others: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 4, "batch": 3, "rate": 1e-2, **others})


def encode(folder: Path | str) -> Any:
    encoder = SentenceTransformersEncoder(EncoderSettings(model=str(folder)), "cpu", "float32")
    return np.concatenate([*encoder.encode_queries(QUESTIONS), *encoder.encode_documents(TEXTS)])


def trained(base: Path | str, work: Path, settings: TrainingSettings, **others: Any) -> bytes:
    """Return the weights that a training comes to."""
    work.mkdir(exist_ok=True)
    train_model(str(base), EXAMPLES, settings, CPU, work, **others)
    return (work / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("lora", [True, False])
def test_the_same_seed_gives_the_same_weights(small: Path, tmp_path: Path, lora: bool) -> None:
    one, two, other = (
        trained(small, tmp_path / name, few_steps(lora=lora, seed=seed))
        for name, seed in (("one", 5), ("two", 5), ("other", 6))
    )
    assert one == two
    assert one != other
    assert one != (small / "model.safetensors").read_bytes()


@pytest.mark.parametrize("lora", [True, False])
def test_a_run_that_was_stopped_comes_to_the_same_weights(small: Path, tmp_path: Path, lora: bool) -> None:
    settings = few_steps(steps=6, lora=lora, save_every_s=0)
    undisturbed = trained(small, tmp_path / "undisturbed", settings)

    def stop(done: int, total: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(small, tmp_path / "stopped", settings, on_step=stop)
    assert not (tmp_path / "stopped" / "model").exists()
    kept = last_checkpoint(tmp_path / "stopped")
    assert kept is not None
    assert kept.name == "checkpoint-4"
    steps: list[int] = []
    again = trained(small, tmp_path / "stopped", settings, on_step=lambda done, total: steps.append(done))
    assert steps == [4, 5, 6]
    assert again == undisturbed


def test_a_checkpoint_that_was_not_written_whole_is_not_gone_on_with(tmp_path: Path) -> None:
    for step, state in ((2, '{"global_step": 2}'), (4, '{"global_'), (6, None)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "checkpoint-2"
    assert last_checkpoint(tmp_path / "elsewhere") is None


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_merged_adapters_give_the_vectors_that_they_gave_beside_the_weights(
    small: Path, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = load_base(str(small), CPU)
    tuner = get_peft_model(model[0].auto_model, LoraConfig(r=4, target_modules="all-linear"))  # type: ignore[arg-type]
    torch.manual_seed(1)
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = torch.randn_like(value) / 4
    model.eval()
    beside = [vectors.float().numpy() for vectors in model.encode_document(TEXTS, convert_to_numpy=False)]
    merge(tuner)
    save_model(model, tmp_path / "merged")
    assert not any("lora" in name or "base_layer" in name for name in model.state_dict())
    merged = SentenceTransformersEncoder(EncoderSettings(model=str(tmp_path / "merged")), "cpu", "float32")
    found = merged.encode_documents(TEXTS)
    for vectors, expected in zip(found, beside, strict=True):
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    plain = SentenceTransformersEncoder(EncoderSettings(model=str(small)), "cpu", "float32")
    assert np.abs(plain.encode_documents(TEXTS)[0] - found[0]).max() > 0.1


@pytest.mark.parametrize("layout", FORMATS)
def test_markers_and_lengths_stay_those_of_the_base(layout: str, tmp_path: Path) -> None:
    base = FORMATS[layout](tmp_path / layout)
    # So small a rate that nothing is learned: what is left is what saving changes.
    trained(base, tmp_path / "work", few_steps(steps=1, rate=1e-12))
    np.testing.assert_allclose(encode(tmp_path / "work" / "model"), encode(base), atol=1e-5)


def test_both_engines_load_what_was_trained(small: Path, tmp_path: Path) -> None:
    trained(small, tmp_path / "work", few_steps())
    folder = tmp_path / "work" / "model"
    assert not list(folder.glob("adapter*"))
    ours = load_encoder(EncoderSettings(model=str(folder)), CPU)
    theirs = load_encoder(EncoderSettings(model=str(folder), engine="ragatouille"), CPU)
    assert ours.identity == theirs.identity
    for texts, ways in (
        (QUESTIONS, (ours.encode_queries, theirs.encode_queries)),
        (TEXTS, (ours.encode_documents, theirs.encode_documents)),
    ):
        for one, other in zip(*(encode(texts) for encode in ways), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_embedded_model_can_be_the_base(tmp_path: Path) -> None:
    trained("embedded", tmp_path / "work", few_steps(steps=2, rate=1e-12))
    folder = tmp_path / "work" / "model"
    modules = [
        module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_text())
    ]
    assert "Pooling" not in modules
    np.testing.assert_allclose(encode(folder), encode("embedded"), atol=1e-4)


def test_a_teachers_scores_are_learned(small: Path, tmp_path: Path) -> None:
    # The teacher holds the second text to be the better one, against the order of the texts.
    examples = [Example(example.query, example.texts, (-3.0, 11.0)) for example in EXAMPLES]
    (tmp_path / "work").mkdir()
    settings = few_steps(steps=30, lora=False)
    train_model(str(small), examples, settings, CPU, tmp_path / "work")
    for folder, better in ((small, False), (tmp_path / "work" / "model", True)):
        encoder = SentenceTransformersEncoder(EncoderSettings(model=str(folder)), "cpu", "float32")
        (question,) = encoder.encode_queries([EXAMPLES[0].query])
        first, second = (
            (question @ text.T).max(axis=1).sum() for text in encoder.encode_documents(EXAMPLES[0].texts)
        )
        assert (second > first) == better


def test_time_that_is_up_ends_a_training(small: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    settings = few_steps(steps=500, minutes=0.01)
    ended = train_model(str(small), EXAMPLES, settings, CPU, tmp_path / "work")
    assert 0 < ended.steps < ended.of == 500
    assert (tmp_path / "work" / "model" / "model.safetensors").is_file()
