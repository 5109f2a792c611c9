from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragqa.train import embedded_pairs
from ragqa.train.embedded_pairs import Material, Pair, docstring_pairs, document_pairs, question_pairs
from ragqa.types import Passage

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
    monkeypatch.setattr(embedded_pairs, "KINDS", {"notes": 1.0})
    rng = np.random.default_rng(1)
    pairs = []
    for number in range(240):
        topic = [*rng.choice(WORDS, 4, replace=False), f"place{number % 12}"]
        pairs.append(Pair("notes", " ".join(topic[2:]), f"d{number // 2}", " ".join([*topic, f"x{number}"])))
    return Material(pairs)


def test_negatives_are_found_by_the_query_and_never_of_the_same_document(material: Material) -> None:
    scores = (material.queries @ material.texts.T).toarray()
    assert sum(map(len, material.negatives)) > 1000
    for place, others in enumerate(material.negatives):
        assert place not in others
        for other in others:
            assert material.documents[other] != material.documents[place]
            assert 0 < scores[place, other] < scores[place, place]


def test_batches_have_no_document_twice_and_nothing_held_out(material: Material) -> None:
    assert 0 < material.held_out.sum() < 60
    batches = material.batches("notes", 32, np.random.default_rng(2))
    for batch in (next(batches) for _ in range(20)):
        assert len(batch) == 32 == len(set(material.documents[batch]))
        assert not material.held_out[batch].any()


def test_gradients_of_the_factors_are_those_of_plain_products() -> None:
    import torch
    from torch.nn.functional import linear

    from ragqa.train.low_rank import SCALE, LowRankLinear

    torch.manual_seed(0)
    layer = LowRankLinear(torch.nn.Linear(6, 5), 2)
    torch.nn.init.normal_(layer.up)
    inputs, weights = torch.randn(3, 4, 6, requires_grad=True), torch.randn(3, 4, 5)
    learned = [layer.down, layer.up, inputs]
    ours = torch.autograd.grad((layer(inputs) * weights).sum(), learned)
    plain = linear(inputs, layer.weight + SCALE * layer.up @ layer.down, layer.bias)
    for mine, theirs in zip(ours, torch.autograd.grad((plain * weights).sum(), learned), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_training_makes_an_adapter_that_learns_and_that_it_can_go_on_from(material: Material) -> None:
    import torch

    from ragqa.train import embedded as recipe_of
    from ragqa.train.embedded import Recipe, Teacher, loss_of
    from ragqa.train.low_rank import Model

    recipe = Recipe(steps=10, pairs=8, negatives=2, rank=4, dimensions=16, tokens=16, rate=5e-3)
    batch, others = list(range(0, 32, 2)), [33, 35]
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_of, "KINDS", {"notes": 1.0})
        patch.setattr(recipe_of, "KEEP_EVERY", 6)
        trained = recipe_of.train(material, recipe, keep=lambda model: kept.append(model.adapter()))
    # What is kept on the way is the adapter of that step.
    assert len(kept) == 1
    assert kept[0].keys() == trained.adapter().keys()
    assert any((kept[0][name] != values).any() for name, values in trained.adapter().items())
    fresh = Model(4, 16)
    teacher = Teacher(fresh, material.pairs, recipe.tokens)
    fresh.start_projection([pair.text for pair in material.pairs], 16, np.random.default_rng(0))
    again = Model(4, 16)
    again.start_from(trained.adapter())
    with torch.no_grad():
        before, after, loaded = (
            float(loss_of(model, material, teacher, batch, others, recipe))
            for model in (fresh, trained, again)
        )
    assert after < before - 0.05
    assert loaded == pytest.approx(after, abs=0.02)
