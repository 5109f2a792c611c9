"""`make bench`: how long a question's stages take, as ratios to encoding the candidates anew.

Both sides rank the same candidates with the same checkpoint in the same process, in turn, after a
warm-up; what is printed are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli.question import open_pipeline
from ragqa.cli.run import run
from ragqa.colbert.encoder import EncoderSettings
from ragqa.colbert.engines import load_encoder
from ragqa.corpus.derived import indexed_text
from ragqa.device import Compute
from ragqa.operations import build_index
from ragqa.types import Hit

QUESTION = "how do I run the tests of a Python package?"


def bench(
    db: Annotated[Path, typer.Argument(help="The corpus to ask.")],
    question: Annotated[str, typer.Option(help="What to ask.")] = QUESTION,
    runs: Annotated[int, typer.Option(min=3, help="Pairs of runs.")] = 15,
) -> None:
    """Print the median time to rerank 10 and 100 candidates, stored vectors against encoding anew."""
    with open_pipeline("fts-colbert", db, None) as pipeline:
        build_index(pipeline)
        encoder = load_encoder(EncoderSettings(), Compute(pipeline.config.device, pipeline.config.dtype))

        def anew(hits: list[Hit]) -> None:
            (query,) = encoder.encode_queries([question])
            documents = encoder.encode_documents([indexed_text(hit.passage)[0] for hit in hits])
            sorted(float((query @ document.T).max(axis=1).sum()) for document in documents)

        print("| candidates | stored vectors | encoded anew | times faster |")
        print("| ---: | ---: | ---: | ---: |")
        for count in (10, 100):
            hits = pipeline.retriever.search(question, count)
            rerank = partial(pipeline.reranker.rerank, question, hits, count)
            ours, peer = _paired(rerank, partial(anew, hits), runs)
            ratio = statistics.median(b / a for a, b in zip(ours, peer, strict=True))
            print(
                f"| {len(hits)} | {statistics.median(ours) * 1000:.1f} ms "
                f"| {statistics.median(peer) * 1000:.0f} ms | {ratio:.0f} |"
            )


def _paired(
    ours: Callable[[], object], peer: Callable[[], object], runs: int
) -> tuple[list[float], list[float]]:
    """Run both in turn after a warm-up; return the seconds that each run took."""
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(runs + 1):
        for side, action in enumerate((ours, peer)):
            start = time.perf_counter()
            action()
            if pair:
                times[side].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    run(lambda: typer.run(bench))
