"""Where weights come from: tensors and never code, and of a hub's model one revision."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragqa import Pipeline
from ragqa.config import parse_config
from ragqa.corpus.database import Corpus
from ragqa.encoders.engines import forget
from ragqa.encoders.hub import indexed_revision, split_revision
from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError, UsageError
from ragqa.operations.corpus import build_index
from ragqa.search.registry import check_stages
from tests.checkpoints import native
from tests.conftest import fill

pytestmark = pytest.mark.needs("torch")

FIRST, SECOND = "1" * 40, "2" * 40
NAME = "acme/tiny"


def encode(model: str, revision: str | None = None) -> SentenceTransformersEncoder:
    return SentenceTransformersEncoder(EncoderSettings(model=model), "cpu", "float32", revision)


def described(connection: sqlite3.Connection, model: str, weights: str) -> None:
    """Note in a corpus that it was indexed with this model."""
    description = json.dumps({"model": model, "weights": weights})
    connection.execute("INSERT INTO encoders (fingerprint, description) VALUES (?, ?)", [model, description])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native(tmp_path_factory.mktemp("native"))


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def as_pytorch(folder: Path, payload: object = None) -> Path:
    """Give a checkpoint its weights as PyTorch's own file, or instead of them a pickle of `payload`."""
    import torch
    from safetensors.torch import load_file

    weights = folder / "model.safetensors"
    target = folder / "pytorch_model.bin"
    if payload is None:
        torch.save(load_file(weights), target)
    else:
        target.write_bytes(pickle.dumps(payload))
    weights.unlink()
    return folder


class Payload:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_weights_in_pytorchs_own_format_are_loaded_as_tensors(checkpoint: Path) -> None:
    safe = encode(str(checkpoint)).encode_queries(["green tea"])[0]
    assert (encode(str(as_pytorch(checkpoint))).encode_queries(["green tea"])[0] == safe).all()


def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(checkpoint: Path, tmp_path: Path) -> None:
    as_pytorch(checkpoint, Payload(tmp_path / "ran"))
    with pytest.raises(RagqaError, match="cannot be loaded: it holds more than tensors, which could be code"):
        encode(str(checkpoint))
    assert not (tmp_path / "ran").exists()


def test_the_variable_that_lets_pickles_run_is_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(RagqaError, match="^TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"):
        encode(str(checkpoint))


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_a_broken_file_of_weights_is_a_sentence(checkpoint: Path, kept: int) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(RagqaError, match="^The ColBERT checkpoint .* cannot be loaded: "):
        encode(str(checkpoint))


@pytest.mark.parametrize("kind", ["evil.Module", "os.path", "subprocess.Popen"])
def test_code_that_a_checkpoint_names_or_brings_is_not_run(
    checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    (checkpoint / "evil.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Module: pass\n"
    )
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[0]["type"] = kind
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(RagqaError, match="cannot be loaded|needs Python code"):
        encode(str(checkpoint))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "stages",
    [
        {"retrieve": {"type": "dense", "trust_remote_code": True}},
        {"retrieve": {"type": "colbert-index", "trust_remote_code": True}},
        {"retrieve": {"type": "fts"}, "rerank": {"type": "colbert", "trust_remote_code": True}},
        {"retrieve": {"type": "fts"}, "rerank": {"type": "cross-encoder", "trust_remote_code": True}},
        {"retrieve": {"type": "fts"}, "rerank": {"type": "ragatouille", "trust_remote_code": True}},
    ],
    ids=lambda stages: stages.get("rerank", stages["retrieve"])["type"],
)
def test_no_config_can_turn_trust_in_remote_code_on(stages: dict[str, Any]) -> None:
    config = parse_config(stages, "evil")
    with pytest.raises(UsageError, match="trust_remote_code"):
        check_stages(config.retrieve, config.rerank)
    with pytest.raises(UsageError, match="unknown key 'trust_remote_code'"):
        parse_config({**stages, "trust_remote_code": True}, "evil")


@pytest.fixture
def hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub makes it, of a model with two revisions; `main` is the second."""
    from huggingface_hub import constants
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "hub"
    model = folder / "models--acme--tiny"
    for revision, factor in ((FIRST, 1.0), (SECOND, 0.5)):
        snapshot = Path(shutil.copytree(saved, model / "snapshots" / revision))
        weights = snapshot / "model.safetensors"
        tensors = {name: value * factor for name, value in load_file(weights).items()}
        save_file(tensors, weights, {"format": "pt"})
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(SECOND)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(folder), raising=False)
    import sentence_transformers.util.file_io  # noqa: F401
    from transformers.utils import hub as transformers_hub

    for name in ("TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE"):
        monkeypatch.setattr(transformers_hub, name, str(folder), raising=False)
    return folder


def test_a_hub_model_is_the_newest_unless_its_name_says_a_commit(hub: Path) -> None:
    assert encode(NAME).identity["weights"] == SECOND
    held = encode(f"{NAME}@{FIRST}")
    assert (held.identity["model"], held.identity["weights"]) == (f"{NAME}@{FIRST}", FIRST)


def test_a_hub_model_stays_at_the_revision_that_indexed_the_corpus(hub: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE encoders (fingerprint TEXT, description TEXT)")
        for model, weights in (
            (NAME, FIRST),
            ("all-MiniLM-L6-v2", "5" * 64),
            ("other", "unknown"),
            (f"{NAME}@{SECOND}", SECOND),
        ):
            described(connection, model, weights)
        assert indexed_revision(connection, "all-MiniLM-L6-v2") is None
        assert indexed_revision(connection, "other") is None
        revision = indexed_revision(connection, NAME)
    assert revision == FIRST
    held = encode(NAME, revision)
    # The identity has the name as the config has it, so that stored vectors stay good.
    assert (held.identity["model"], held.identity["weights"]) == (NAME, FIRST)
    # What a config asks for by its name it gets.
    assert encode(f"{NAME}@{SECOND}", revision).identity["weights"] == SECOND


def test_a_file_without_encoders_has_no_revisions() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert indexed_revision(connection, NAME) is None


@pytest.mark.parametrize("stage", ["rerank", "retrieve"])
def test_corpora_side_by_side_each_have_the_revision_that_indexed_them(
    hub: Path, db: Path, tmp_path: Path, stage: str
) -> None:
    type_ = {"rerank": "colbert", "retrieve": "colbert-index"}[stage]
    parts = {"retrieve": {"type": "fts"}, stage: {"type": type_, "model": NAME}}
    config = parse_config({**parts, "device": "cpu", "dtype": "float32"}, "tiny")
    pipelines = []
    for revision in (FIRST, SECOND, None):
        copied = Path(shutil.copy(db, tmp_path / f"{revision}.db"))
        if revision is not None:
            with Corpus.open(copied) as corpus, corpus.connection:
                described(corpus.connection, NAME, revision)
        pipelines.append(Pipeline.from_config(config, copied))
    # Opened one after the other, and asked only then: the last one opened says nothing for the others.
    weights = [
        pipeline.derived()[type_].store.encoder.identity["weights"]  # type: ignore[attr-defined]
        for pipeline in pipelines
    ]
    assert weights == [FIRST, SECOND, SECOND]
    for pipeline in pipelines:
        pipeline.close()


def test_branches_and_tags_are_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="whole commit of 40 hex digits"):
        split_revision("acme/tiny@main")
    (tmp_path / "my@model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_revision("my@model") == ("my@model", None)


def test_without_network_a_model_that_is_not_there_is_a_sentence(hub: Path) -> None:
    with pytest.raises(RagqaError, match="^The ColBERT checkpoint acme/other cannot be loaded: "):
        encode("acme/other")


def test_a_model_that_needs_code_of_its_own_is_refused_in_a_sentence(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    config.update(model_type="jina-own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    path.write_text(json.dumps(config))
    (checkpoint / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(
        RagqaError, match="needs Python code that comes with it, and ragqa runs no model's code"
    ):
        encode(str(checkpoint))


# A file of a checkpoint, and a change of it that it can still be loaded with.
CHANGED = {
    "1_Dense/config.json": ('"bias": false', '"bias":  false'),
    "2_MultiVectorMask/config.json": ('"."', '";"'),
    "config_sentence_transformers.json": ("{", '{"similarity": "MaxSim",'),
    "sentence_bert_config.json": ("{", '{"document_length": 24,'),
    "tokenizer.json": ('"version": "1.0"', '"version":  "1.0"'),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_checkpoint_of_which_any_file_changed_is_another_model(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "tea.md").write_text("Green tea is steeped at 70 degrees.")
    fill(tmp_path / "tea.db", tmp_path / "tea.md")
    config = parse_config({"retrieve": {"type": "colbert-index", "model": str(checkpoint)}}, "own")

    def found() -> int:
        forget()
        with Pipeline(config, Corpus.open(tmp_path / "tea.db")) as pipeline:
            return len(pipeline.search("green tea").hits)

    with Pipeline(config, Corpus.open(tmp_path / "tea.db")) as pipeline:
        build_index(pipeline)
    (checkpoint / "README.md").write_text("A card decides no vector.")
    assert found() == 1
    path = checkpoint / name
    text = path.read_text(encoding="utf-8")
    before, after = CHANGED[name]
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(RagqaError, match=f"since {name} changed: ragqa index"):
        found()
