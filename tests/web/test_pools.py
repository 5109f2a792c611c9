from __future__ import annotations

import os
import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ragqa.config import load_config, parse_config, shipped_configs
from ragqa.errors import UsageError
from ragqa.pipeline import Pipeline
from ragqa.service.events import Event, StoppedError
from ragqa.service.library import Asked
from ragqa.service.pools import PipelinePool, shares
from ragqa.service.warm import WarmLibrary
from ragqa.web.listen import Failed, failure
from tests.conftest import write_notes
from tests.web.conftest import QUESTION, warm

GO_ON = lambda: False  # noqa: E731


def test_only_what_is_safe_for_threads_is_shared() -> None:
    assert {name for name in shipped_configs() if shares(load_config(name))} == {
        "default",
        "dense",
        "fts",
        "fts-colbert",
        "hybrid",
        "hybrid-colbert",
        "light",
        "colbert-exact",
        "colbert-shortlist",
        "cross-encoder",
    }
    for model in ("some/checkpoint", "/a/folder"):
        stage = {"type": "dense", "model": model}
        assert not shares(parse_config({"retrieve": stage}, "a"))
        mixed = {"type": "hybrid", "stages": [stage, {"type": "fts"}]}
        assert not shares(parse_config({"retrieve": mixed}, "a"))


def test_a_pipeline_is_lent_to_one_at_a_time_and_used_again(db: Path) -> None:
    opened: list[Pipeline] = []

    def opener() -> Pipeline:
        opened.append(Pipeline.from_config("fts", db))
        return opened[-1]

    pool = PipelinePool(opener, threading.Semaphore(2))
    with pool.borrow(GO_ON) as one, pool.borrow(GO_ON) as other:
        assert one is not other
        with pytest.raises(StoppedError), pool.borrow(lambda: True):
            pass
    with pool.borrow(GO_ON) as again:
        assert again in (one, other)
    with pytest.raises(UsageError), pool.borrow(GO_ON) as borrowed:
        borrowed.search("")
    with pool.borrow(GO_ON) as after:
        assert after is borrowed
    assert len(opened) == 2
    pool.close()


def test_a_pipeline_in_an_unknown_state_is_not_lent_again(db: Path) -> None:
    pool = PipelinePool(lambda: Pipeline.from_config("fts", db), threading.Semaphore(1))
    with pytest.raises(ZeroDivisionError), pool.borrow(GO_ON) as broken:
        raise ZeroDivisionError
    with pool.borrow(GO_ON) as other:
        assert other is not broken
        assert other.search(QUESTION).hits
    pool.close()


def test_a_corpus_that_was_replaced_is_opened_again(db: Path, tmp_path: Path) -> None:
    with closing(WarmLibrary(db, ["fts"])) as engine:
        warm(engine)
        assert engine.search("coffee", 1, "").hits
        folder = write_notes(tmp_path / "others")
        (folder / "coffee.md").write_text("# Tea\n\nNo other word.", encoding="utf-8")
        from tests.conftest import fill

        fill(tmp_path / "other.db", folder)
        shutil.copy(tmp_path / "other.db", tmp_path / "moved.db")
        os.replace(tmp_path / "moved.db", db)
        assert not engine.search("coffee", 1, "").hits


def test_a_config_that_cannot_be_loaded_says_why_and_keeps_no_other_from_answering(
    db: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("retrieve: {type: fts}\nchunk: {tokens: 100}\n", encoding="utf-8")
    notes: list[str] = []
    told: list[Event] = []
    with closing(WarmLibrary(db, [str(broken), "fts"], note=notes.append)) as engine:
        warm(engine)
        assert engine.ready
        first, second = engine.states()
        assert "--rechunk" in first["problem"]
        assert second["problem"] is None
        assert len(notes) == 1
        assert "60 grams" in engine.ask(Asked(QUESTION, "fts"), told.append, GO_ON).text


def test_errors_have_the_status_that_says_the_same() -> None:
    assert failure(UsageError("No.")) == Failed("No.", 400)
    assert failure(MemoryError()) == Failed("There is not enough memory for this.", 500)
