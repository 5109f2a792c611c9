"""Stored vectors against the plain float32 path, on a part of SciFact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragqa.index.token_store import StorageSettings
from tests.conftest import fill
from tests.workshop.storage import compare, read_collection

pytestmark = pytest.mark.slow

QUESTIONS, DOCUMENTS = 40, 160


@pytest.fixture(scope="module")
def part(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first judged questions, their documents and others up to DOCUMENTS: questions and corpus."""
    scifact = shared / "scifact"
    folder = tmp_path_factory.mktemp("scifact")
    judged: dict[str, list[str]] = {}
    for line in (scifact / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        question, document, _ = line.split("\t")
        judged.setdefault(question, []).append(document)
    chosen = dict(list(judged.items())[:QUESTIONS])
    wanted = {document for documents in chosen.values() for document in documents}
    documents = [json.loads(line) for line in (scifact / "corpus.jsonl").read_text().splitlines()]
    kept = [document for document in documents if document["_id"] in wanted]
    kept += [document for document in documents if document["_id"] not in wanted][: DOCUMENTS - len(kept)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, kept)))
    texts = map(json.loads, (scifact / "queries.jsonl").read_text().splitlines())
    asked = [
        {"question": query["text"], "relevant": chosen[query["_id"]]}
        for query in texts
        if query["_id"] in chosen
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)))
    fill(folder / "corpus.db", folder / "corpus.jsonl")
    return folder / "questions.jsonl", folder / "corpus.db"


@pytest.fixture(scope="module")
def rows(part: tuple[Path, Path]) -> list[dict[str, Any]]:
    """Each strategy with plain vectors, with four bits of all of them, and with what is kept by default.

    Half a minute: the documents are encoded and pooled anew for each.
    """
    kinds = [StorageSettings(codec="int4", pool_factor=1), StorageSettings()]
    return list(compare(read_collection(*part), kinds))


def test_four_bits_of_96_numbers_rank_nearly_as_float32_does(rows: list[dict[str, Any]]) -> None:
    for plain, stored in zip(rows[:2], rows[2:4], strict=True):
        assert (stored["strategy"], stored["way"]) == (plain["strategy"], "int4, pooled by 1")
        assert stored["overlap"] >= 0.9
        assert stored["nDCG@10"] == pytest.approx(plain["nDCG@10"], abs=0.01)


def test_what_is_kept_by_default_ranks_nearly_as_well(rows: list[dict[str, Any]]) -> None:
    for plain, stored in zip(rows[:2], rows[4:], strict=True):
        assert stored["strategy"] == plain["strategy"]
        assert stored["nDCG@10"] == pytest.approx(plain["nDCG@10"], abs=0.02)
        assert stored["bytes_per_token"] <= 24.5
