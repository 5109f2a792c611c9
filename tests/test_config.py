from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ragqa.config import MAX_CONFIG_BYTES, load_config, shipped_configs
from ragqa.errors import RagqaError, UsageError
from ragqa.operations.corpus import build_index
from ragqa.operations.push import push
from ragqa.pipeline import Pipeline
from ragqa.search.registry import check_stages

NEED_A_HUB = {
    "answerai-colbert-small",
    "colbert-zero",
    "colbertv2",
    "gte-moderncolbert",
    "lateon",
    "mxbai-edge-17m",
    "mxbai-edge-32m",
}


@pytest.mark.parametrize("name", list(shipped_configs()))
def test_every_shipped_config_is_valid_and_described(name: str) -> None:
    config = load_config(name)
    check_stages(config.retrieve, config.rerank)
    assert config.name == name
    assert config.description


def test_the_promised_configs_are_shipped() -> None:
    promised = (
        "fts dense hybrid fts-colbert hybrid-colbert colbert-exact colbert-plaid ragatouille cross-encoder"
        " colbert-shortlist default lancedb light"
    )
    assert shipped_configs().keys() == set(promised.split()) | NEED_A_HUB


# The extra that a config needs to be used.
EXTRAS = {"colbert-plaid": "plaid", "ragatouille": "plaid", "lancedb": "scale"}


def with_extras(names: Iterable[str], extra: str | None = None) -> list[Any]:
    marked = []
    for name in sorted(names):
        needed = extra or EXTRAS.get(name)
        marked.append(pytest.param(name, marks=[pytest.mark.needs(needed)] if needed else []))
    return marked


@pytest.mark.parametrize("name", with_extras(shipped_configs().keys() - NEED_A_HUB))
def test_every_config_that_needs_no_hub_finds_the_answer(name: str, db: Path) -> None:
    pipeline = Pipeline.from_config(name, db)
    build_index(pipeline)
    if name == "lancedb":
        push(pipeline)
    result = pipeline.search("How warm is green tea steeped?", 3)
    assert result.hits[0].passage.document_id == "tea.html"
    assert [hit.rank for hit in result.hits] == [1, 2, 3][: len(result.hits)]
    assert result.hits[0].score == max(hit.score for hit in result.hits)
    pipeline.close()


@pytest.mark.parametrize("name", with_extras(NEED_A_HUB, "torch"))
def test_a_config_that_needs_the_hub_says_so_without_one(name: str, db: Path) -> None:
    pipeline = Pipeline.from_config(name, db)
    with pytest.raises(RagqaError, match="cannot be loaded"):
        pipeline.search("How warm is green tea steeped?", 3)
    pipeline.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retrieve: {type: fts}\ncandidats: 5", "unknown key 'candidats'"),
        ("retrieve: {type: fts}\ncontext: {token: 5}", "unknown key 'context.token'. Known here: passages"),
        ("retrieve: {type: fts}\nk: 0", "k: input should be greater than"),
        ("k: 3", "retrieve: field required"),
        ("- a\n- b", "must be a mapping"),
        ("retrieve: [", "not valid YAML"),
        ("retrieve: !!python/object/apply:os.system [true]", "not valid YAML"),
        ("1: 2\nretrieve: {type: fts}", "wrong"),
        ("#" * (MAX_CONFIG_BYTES + 1), "larger than"),
    ],
)
def test_a_wrong_config_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(str(path))
    assert said in str(caught.value)
    assert "mine" in str(caught.value)


@pytest.mark.parametrize(
    ("fuse", "said"),
    [
        ("{weights: {fts: 1, dense: 2}}", "names 'dense', and its candidates have scores of colbert, fts"),
        ("{weights: {}}", "at least 1"),
        ("{kk: 3, weights: {fts: 1}}", r"unknown key 'fuse.kk'. Known here: by, k, weights"),
    ],
)
def test_a_wrong_fusion_is_a_sentence(tmp_path: Path, fuse: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"retrieve: {{type: fts}}\nrerank: {{type: colbert, fuse: {fuse}}}")
    config = load_config(str(path))
    with pytest.raises(UsageError, match=said):
        check_stages(config.retrieve, config.rerank)


def test_unknown_names_come_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fts-colbert"):
        load_config("nonsense")
    path = tmp_path / "mine.yaml"
    path.write_text("retrieve: {type: ftss}\nrerank: {type: colbert, modl: x}")
    config = load_config(str(path))
    with pytest.raises(UsageError, match=r"no retriever 'ftss'. Known: .*fts"):
        check_stages(config.retrieve, config.rerank)
    with pytest.raises(UsageError, match=r"unknown key 'modl'. Known here: .*model"):
        check_stages(config.retrieve.model_copy(update={"type": "fts"}), config.rerank)
