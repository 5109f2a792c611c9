from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from ragqa.encoders.embedded import minilm
from ragqa.errors import RagqaError


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: folder)
    minilm._merged_weights.cache_clear()
    yield folder
    minilm._merged_weights.cache_clear()


def _weights(path: Path) -> dict[str, np.ndarray]:
    return dict(minilm._tensors(path.read_bytes(), "<f4"))


def test_the_adapter_is_small_and_changes_weights_that_are_there() -> None:
    assert minilm.ADAPTER.stat().st_size <= 2_000_000
    weights = _weights(minilm.folder() / "model.safetensors")
    tensors = minilm.adapter()
    assert tensors[minilm.PROJECTION].shape == (minilm.ADAPTED.dimensions, minilm.DIMENSIONS)
    changed = {name.removesuffix(minilm.UP) for name in tensors if name.endswith(minilm.UP)}
    assert len(changed) == (len(tensors) - 1) / 2 == 36
    for name in changed:
        up, down = tensors[f"{name}{minilm.UP}"], tensors[f"{name}{minilm.DOWN}"]
        assert weights[name].shape == (up.shape[0], down.shape[1])
        assert up.shape[1] == down.shape[0]


def test_the_merged_weights_are_the_official_ones_and_the_product_of_the_factors(cache: Path) -> None:
    path = minilm.verified_weights(minilm.ADAPTED)
    assert path.parent == cache
    assert [file.name for file in cache.iterdir()] == [path.name]
    merged, official = _weights(path), _weights(minilm.folder() / "model.safetensors")
    assert merged.keys() == official.keys()
    tensors = {name: tensor.astype(np.float64) for name, tensor in minilm.adapter().items()}
    for name, weight in official.items():
        if f"{name}{minilm.UP}" in tensors:
            change = tensors[f"{name}{minilm.UP}"] @ tensors[f"{name}{minilm.DOWN}"]
            np.testing.assert_allclose(merged[name], weight + change, atol=1e-6)
            assert np.abs(merged[name] - weight).max() > 1e-4
        else:
            np.testing.assert_array_equal(merged[name], weight)


def test_merging_is_done_once_and_again_where_its_result_was_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = minilm.verified_weights(minilm.ADAPTED)
    with monkeypatch.context() as patch:
        patch.setattr(minilm, "merge", None)
        minilm._merged_weights.cache_clear()
        assert minilm.verified_weights(minilm.ADAPTED) == path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    minilm._merged_weights.cache_clear()
    assert minilm.verified_weights(minilm.ADAPTED) == path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == minilm.MERGED_SHA256


def test_without_a_cache_the_merged_weights_live_as_long_as_the_process(cache: Path) -> None:
    cache.write_text("not a folder")
    path = minilm.verified_weights(minilm.ADAPTED)
    assert cache not in path.parents
    assert hashlib.sha256(path.read_bytes()).hexdigest() == minilm.MERGED_SHA256


def test_an_adapter_that_is_another_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "adapter.safetensors"
    other.write_bytes(minilm.ADAPTER.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(minilm, "ADAPTER", other)
    minilm.adapter.cache_clear()
    with pytest.raises(RagqaError, match="not the one that came with ragqa"):
        minilm.adapter()
    monkeypatch.setattr(minilm, "ADAPTER", tmp_path / "nowhere")
    with pytest.raises(RagqaError, match="cannot be read"):
        minilm.adapter()
    monkeypatch.undo()
    assert minilm.adapter()


def test_a_name_stands_for_a_checkpoint_and_each_has_an_identity_of_its_own() -> None:
    assert minilm.CHECKPOINTS["embedded"] == minilm.DEFAULT
    zero_shot, adapted = (
        minilm.identity(0, minilm.CHECKPOINTS[f"embedded-{name}"]) for name in ("zero-shot", "adapted")
    )
    assert minilm.identity(0) in (zero_shot, adapted)
    assert zero_shot["weights"] == minilm.WEIGHTS_SHA256
    assert adapted["weights"] == hashlib.sha256(minilm.ADAPTER.read_bytes()).hexdigest()
    assert zero_shot["model"] != adapted["model"]
