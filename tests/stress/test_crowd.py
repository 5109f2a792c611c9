"""A small crowd; `python -m tests.stress.crowd` has twenty readers."""

from __future__ import annotations

import pytest

from tests.stress.crowd import crowd, two_writers
from tests.stress.material import Yard


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("yard"), notes=6)


def test_readers_beside_a_writer_get_consistent_answers(yard: Yard) -> None:
    asked = crowd(yard, readers=4, rounds=1)
    assert asked.faults == []
    assert asked.counts["searched"] > 4
    assert asked.counts["writers"] == 2


def test_of_two_writers_one_waits_or_is_told(yard: Yard) -> None:
    asked = two_writers(yard, times=1)
    assert asked.faults == []
    assert asked.counts["stopped with a sentence"] >= 1
