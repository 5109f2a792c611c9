from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from ragqa import embedded
from ragqa.errors import RagqaError


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: folder)
    embedded._merged_weights.cache_clear()
    yield folder
    embedded._merged_weights.cache_clear()


def _weights(path: Path) -> dict[str, np.ndarray]:
    return dict(embedded._tensors(path.read_bytes(), "<f4"))


def test_the_adapter_is_small_and_changes_weights_that_are_there() -> None:
    assert embedded.ADAPTER.stat().st_size <= 2_000_000
    weights = _weights(embedded.folder() / "model.safetensors")
    tensors = embedded.adapter()
    assert tensors[embedded.PROJECTION].shape == (embedded.ADAPTED.dimensions, embedded.DIMENSIONS)
    changed = {name.removesuffix(embedded.UP) for name in tensors if name.endswith(embedded.UP)}
    assert len(changed) == (len(tensors) - 1) / 2 == 36
    for name in changed:
        up, down = tensors[f"{name}{embedded.UP}"], tensors[f"{name}{embedded.DOWN}"]
        assert weights[name].shape == (up.shape[0], down.shape[1])
        assert up.shape[1] == down.shape[0]


def test_the_merged_weights_are_the_official_ones_and_the_product_of_the_factors(cache: Path) -> None:
    path = embedded.verified_weights(embedded.ADAPTED)
    assert path.parent == cache
    assert [file.name for file in cache.iterdir()] == [path.name]
    merged, official = _weights(path), _weights(embedded.folder() / "model.safetensors")
    assert merged.keys() == official.keys()
    tensors = {name: tensor.astype(np.float64) for name, tensor in embedded.adapter().items()}
    for name, weight in official.items():
        if f"{name}{embedded.UP}" in tensors:
            change = tensors[f"{name}{embedded.UP}"] @ tensors[f"{name}{embedded.DOWN}"]
            np.testing.assert_allclose(merged[name], weight + change, atol=1e-6)
            assert np.abs(merged[name] - weight).max() > 1e-4
        else:
            np.testing.assert_array_equal(merged[name], weight)


def test_merging_is_done_once_and_again_where_its_result_was_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedded.verified_weights(embedded.ADAPTED)
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "merge", None)
        embedded._merged_weights.cache_clear()
        assert embedded.verified_weights(embedded.ADAPTED) == path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    embedded._merged_weights.cache_clear()
    assert embedded.verified_weights(embedded.ADAPTED) == path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == embedded.MERGED_SHA256


def test_without_a_cache_the_merged_weights_live_as_long_as_the_process(cache: Path) -> None:
    cache.write_text("not a folder")
    path = embedded.verified_weights(embedded.ADAPTED)
    assert cache not in path.parents
    assert hashlib.sha256(path.read_bytes()).hexdigest() == embedded.MERGED_SHA256


def test_an_adapter_that_is_another_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "adapter.safetensors"
    other.write_bytes(embedded.ADAPTER.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(embedded, "ADAPTER", other)
    embedded.adapter.cache_clear()
    with pytest.raises(RagqaError, match="not the one that came with ragqa"):
        embedded.adapter()
    monkeypatch.setattr(embedded, "ADAPTER", tmp_path / "nowhere")
    with pytest.raises(RagqaError, match="cannot be read"):
        embedded.adapter()
    monkeypatch.undo()
    assert embedded.adapter()


def test_a_name_stands_for_a_checkpoint_and_each_has_an_identity_of_its_own() -> None:
    assert embedded.CHECKPOINTS["embedded"] == embedded.DEFAULT
    zero_shot, adapted = (
        embedded.identity(0, embedded.CHECKPOINTS[f"embedded-{name}"]) for name in ("zero-shot", "adapted")
    )
    assert embedded.identity(0) in (zero_shot, adapted)
    assert zero_shot["weights"] == embedded.WEIGHTS_SHA256
    assert adapted["weights"] == hashlib.sha256(embedded.ADAPTER.read_bytes()).hexdigest()
    assert zero_shot["model"] != adapted["model"]
