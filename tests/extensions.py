"""Compiles RAGatouille's C++ extensions ahead of the tests: `python -m tests.extensions`, by `make install`.

Its users wait for them once per machine, at the first question. So do the tests, which would have one process
wait for two minutes in the midst of others.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence

from tests.conftest import EXTENSIONS

# What loads them, in two halves that take about as long.
HALVES = (
    [("colbert.search.index_storage", "IndexScorer")],
    [("colbert.modeling.colbert", "ColBERT"), ("colbert.search.strided_tensor", "StridedTensor")],
)


def main() -> None:
    """Compile what is not compiled yet, in a process per core."""
    os.environ["TORCH_EXTENSIONS_DIR"] = EXTENSIONS
    workers = [multiprocessing.Process(target=load, args=(half,)) for half in HALVES]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("RAGatouille's C++ extensions could not be compiled.")


def load(classes: Sequence[tuple[str, str]]) -> None:
    """Have these classes load their extensions, which compiles them."""
    from importlib import import_module

    from ragqa.encoders.device import Compute
    from ragqa.encoders.ragatouille.taming import SEARCHING, ensure_compiled, tamed

    tamed(Compute("cpu"))
    ensure_compiled(SEARCHING)
    for module, name in classes:
        getattr(import_module(module), name).try_load_torch_extensions(False)


if __name__ == "__main__":
    main()
