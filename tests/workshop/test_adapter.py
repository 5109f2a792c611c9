from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragqa.types import Passage
from tests.workshop.adapter import pairs as pair_kinds
from tests.workshop.adapter.pairs import Material, Pair, docstring_pairs, document_pairs, question_pairs

WORDS = [
    "apple",
    "bridge",
    "cedar",
    "drum",
    "eagle",
    "ferry",
    "garden",
    "harbour",
    "island",
    "jacket",
    "kettle",
    "lantern",
]


def passage(text: str, headings: tuple[str, ...] = ()) -> Passage:
    return Passage(
        rowid=1, document_id="blog/1", ordinal=0, start=0, end=len(text), title="How to make a long bow",
        headings=headings, text=text, source="", metadata={},
    )  # fmt: skip


def test_what_is_asked_is_taken_out_of_the_text() -> None:
    text = (
        "## Choosing the right wood\nYew is what most makers of bows take, if they can get it. It bends "
        "far and springs back. Ash is cheaper, and good enough for the first bow that anybody makes alone."
    )
    pairs = list(document_pairs([passage(text, ("Choosing the right wood",))] * 8, np.random.default_rng(0)))
    assert {pair.kind for pair in pairs} == {"blog title", "blog heading", "blog sentence"}
    for pair in pairs:
        assert pair.query not in pair.text
        assert pair.document == "blog/1"
    sentences = {pair.query for pair in pairs if pair.kind == "blog sentence"}
    assert any(sentence.startswith("Ash is cheaper") for sentence in sentences)


def test_a_question_goes_with_the_passage_that_holds_its_answer(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "who made the long bow"}))
    (folder / "questions.jsonl").write_text(json.dumps({"id": "q", "golden_answers": ["Ada"]}))
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\nq\tgone\t1\n")
    own = [passage("The long bow is old, and who made the first is not known."), passage("Ada made one.")]
    (pair,) = question_pairs(tmp_path, "set", {"set/d": own})
    assert pair.text.endswith("Ada made one.")
    assert pair.document == "set/d"


def test_docstrings_give_summaries_and_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = (
        "It goes on until no two neighbours are in the wrong order, so that what is sorted already costs "
        "a single pass over all of the items, and what is reversed costs as many passes as there are items."
    )
    notes = "Bubble sort is older than its name, and no library has it."
    sections = f"Parameters\n----------\nitems : list\n\nNotes\n-----\n{notes}"
    body = f"Sort items by swapping neighbours.\n\n{below}\n\n{sections}"
    (tmp_path / "sorting_for_a_test").mkdir()
    (tmp_path / "sorting_for_a_test/__init__.py").write_text(
        "".join(f"def {name}(items):\n    {body!r}\n" for name in ("bubble", "again", "_own"))
        + "def short(items):\n    'Sort the items of a list.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (pair,) = docstring_pairs("sorting_for_a_test", np.random.default_rng(0))
    assert pair.query == "Sort items by swapping neighbours."
    assert pair.document == "docstring/sorting_for_a_test.bubble"
    assert below in pair.text
    assert notes in pair.text
    assert "list" not in pair.text
    assert list(docstring_pairs("no_such_package", np.random.default_rng(0))) == []


@pytest.fixture
def material(monkeypatch: pytest.MonkeyPatch) -> Material:
    monkeypatch.setattr(pair_kinds, "KINDS", {"notes": 1.0})
    rng = np.random.default_rng(1)
    pairs = []
    for number in range(240):
        topic = [*rng.choice(WORDS, 4, replace=False), f"place{number % 12}"]
        pairs.append(Pair("notes", " ".join(topic[2:]), f"d{number // 2}", " ".join([*topic, f"x{number}"])))
    return Material(pairs)


def test_a_sample_has_of_each_kind_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_kinds, "KINDS", {"a": 0.5, "b": 0.3, "c": 0.2})
    pairs = [Pair(kind, f"{kind}{number}", "d", "t") for kind in "ab" for number in range(40)]
    drawn = pair_kinds.sampled(pairs, 60, np.random.default_rng(0))
    assert [sum(pair.kind == kind for pair in drawn) for kind in "abc"] == [30, 18, 0]
    assert len(set(drawn)) == 48


@pytest.mark.needs("torch")
def test_batches_have_no_document_twice_and_nothing_held_out(material: Material) -> None:
    assert 0 < material.held_out.sum() < 60
    batches = material.batches("notes", 32, np.random.default_rng(2))
    for batch in (next(batches) for _ in range(20)):
        assert len(batch) == 32 == len(set(material.documents[batch]))
        assert not material.held_out[batch].any()
    few = next(material.batches("notes", 500, np.random.default_rng(2)))
    assert len(few) == len(set(material.documents[~material.held_out]))


@pytest.mark.needs("torch")
def test_gradients_of_the_factors_are_those_of_plain_products() -> None:
    import torch
    from torch.nn.functional import linear

    from tests.workshop.adapter.low_rank import SCALE, LowRankLinear

    torch.manual_seed(0)
    layer = LowRankLinear(torch.nn.Linear(6, 5), 2)
    torch.nn.init.normal_(layer.up)
    inputs, weights = torch.randn(3, 4, 6, requires_grad=True), torch.randn(3, 4, 5)
    learned = [layer.down, layer.up, inputs]
    ours = torch.autograd.grad((layer(inputs) * weights).sum(), learned)
    plain = linear(inputs, layer.weight + SCALE * layer.up @ layer.down, layer.bias)
    for mine, theirs in zip(ours, torch.autograd.grad((plain * weights).sum(), learned), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.needs("torch")
def test_stored_vectors_are_those_of_the_store_and_let_gradients_through() -> None:
    import torch

    from ragqa.index.pooling import cluster, pool
    from ragqa.index.quantise import decode, encode
    from tests.workshop.adapter.recipe import Recipe, best_matches, stored

    torch.manual_seed(0)
    recipe = Recipe(codec="int4", pool_factor=2)
    rows = torch.nn.functional.normalize(torch.randn(9, 16), dim=-1).requires_grad_()
    clusters = cluster(rows.detach().numpy(), 2)
    found = stored(rows, clusters, recipe)
    pooled = pool(rows.detach().numpy(), clusters)
    kept = decode([encode(pooled, "int4")], [len(pooled)], 16, "int4")
    np.testing.assert_allclose(found.detach().numpy(), kept, atol=1e-6)
    matches = best_matches([rows[:2], rows[5:6]], [found, found[:1]])
    assert matches.shape == (3, 2)
    products = (rows[[0, 1, 5]] @ found.T).detach()
    np.testing.assert_allclose(
        matches.detach().numpy(), torch.stack([products.amax(1), products[:, 0]], 1).numpy(), atol=1e-6
    )
    (gradient,) = torch.autograd.grad((found * torch.randn(found.shape)).sum(), rows)
    assert gradient.abs().sum(1).min() > 0


@pytest.mark.needs("torch")
def test_training_makes_an_adapter_that_says_what_the_published_model_says(material: Material) -> None:
    import torch

    from tests.workshop.adapter import recipe as recipe_of
    from tests.workshop.adapter.low_rank import Model
    from tests.workshop.adapter.recipe import Published, Recipe, whole_loss

    recipe = Recipe(steps=10, projection_steps=5, pairs=8, rank=4, dimensions=32, tokens=16, rate=5e-3)
    batch, kept = list(range(0, 32, 2)), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_of, "KINDS", {"notes": 1.0})
        patch.setattr(recipe_of, "KEEP_EVERY", 6)
        trained = recipe_of.train(material, recipe, keep=lambda model: kept.append(model.adapter()))
        patch.setattr(recipe_of, "KINDS", {"notes": 0.9, "nothing held out": 0.1})
        figures = recipe_of.held_out_ndcg(trained, material, recipe)
    # Words of a text are its query: stored vectors find it again.
    assert figures.keys() == {"notes"}
    assert figures["notes"][0] > 0.5
    # What is kept on the way is the adapter of that step.
    assert len(kept) == 1
    assert kept[0].keys() == trained.adapter().keys()
    assert any((kept[0][name] != values).any() for name, values in trained.adapter().items())
    fresh = Model(4, 32)
    published = Published(fresh, material.pairs, recipe)
    fresh.start_projection([text.rows for text in published.texts], np.random.default_rng(0))
    again = Model(4, 32)
    again.start_from(trained.adapter())
    with torch.no_grad():
        before, after, loaded = (
            float(whole_loss(model, material.pairs, published, batch, recipe))
            for model in (fresh, trained, again)
        )
    assert after < 0.9 * before
    assert loaded == pytest.approx(after, rel=0.05)
    # Whole vectors that are stored as they are say what they say.
    exact = Recipe(codec="int8", pool_factor=1)
    alone = Published(fresh, material.pairs[:16], exact)
    rows = alone.projected(torch.eye(384), range(16))
    assert float(recipe_of.loss_of(*rows, alone, list(range(16)), exact)) < 0.2


@pytest.mark.needs("torch")
def test_the_projection_alone_is_trained_first(material: Material) -> None:
    import torch

    from tests.workshop.adapter import recipe as recipe_of
    from tests.workshop.adapter.low_rank import Model

    recipe = recipe_of.Recipe(projection_steps=40, dimensions=32, tokens=16, pairs=8)
    model = Model(2, 32)
    published = recipe_of.Published(model, material.pairs, recipe)
    model.start_projection([text.rows for text in published.texts], np.random.default_rng(0))
    np.testing.assert_allclose((model.projection @ model.projection.T).detach(), np.eye(32), atol=1e-4)
    batch = list(range(0, 64, 2))

    def loss() -> float:
        with torch.no_grad():
            rows = published.projected(model.projection, batch)
            return float(recipe_of.loss_of(*rows, published, batch, recipe))

    before = loss()
    recipe_of.train_projection(
        model, published, material.batches("notes", 8, np.random.default_rng(2)), recipe
    )
    assert loss() < 0.95 * before
