"""What is set where the tests run decides nothing in them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ragqa.cli.manual import ENVIRONMENT


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """Set what ragqa reads, before the fixture that each test has."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setenv(name, "set by a user")
        yield


NAMES = [name for name, _ in ENVIRONMENT if name.startswith("RAGQA_")]


def test_no_variable_of_ragqa_reaches_a_test() -> None:
    assert {"RAGQA_DB", "RAGQA_RUNS", "RAGQA_TOKEN"} <= set(NAMES)
    assert [name for name in NAMES if name in os.environ] == []
