"""Encoding on a Ray cluster of two nodes, one of which is killed half-way."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ragqa.operations.corpus import build_index, missing_passages
from ragqa.pipeline import Pipeline
from tests.workshop.scale.material import Material, config, sqlite_config

# Kept in the cluster's shared memory at most: a few batches are on their way.
STORE_BYTES = 256 * 2**20
# A node that died is known as dead within some seconds.
HEALTH = {
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def two_nodes(material: Material) -> Iterator[tuple[str, str]]:
    """Encode the real passages on two nodes of a core each, and kill one when half of them are done."""
    from ragqa.cluster.ray_cluster import Cluster
    from ragqa.cluster.ray_index import RayEngine

    moments: list[tuple[float, int]] = []
    killed: list[float] = []
    with _cluster() as machines, Pipeline.from_config(config(sqlite_config()), material.real) as pipeline:
        nodes = [machines.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
        passages = max(missing_passages(pipeline).values())
        begun = time.perf_counter()

        def watch(done: int, total: int | None) -> None:
            moments.append((time.perf_counter() - begun, done))
            if not killed and total == passages and done >= total / 2:
                killed.append(moments[-1][0])
                machines.remove_node(nodes[0], allow_graceful=False)

        with Cluster(machines.address, worker_cores=1) as cluster, RayEngine(cluster, pipeline) as engine:
            build_index(pipeline, on_passages=watch, engine=engine)
        seconds = time.perf_counter() - begun
        missing = max(missing_passages(pipeline).values())
    (at,) = killed
    before = next(done for moment, done in moments if moment >= at)
    first = next(moment for moment, done in moments if done > 0)
    yield (
        f"{passages:,} passages encoded on two nodes of a core each, one killed at {before:,}",
        f"{seconds:,.0f} s in all, {missing:,} missing; {before / at:,.0f} passages/s with both (the first "
        f"after {first:,.0f} s), {(passages - before) / (seconds - at):,.0f} with one",
    )


@contextmanager
def _cluster() -> Iterator[Any]:
    """Run a cluster of this machine, whose head has no cores; ended with all its nodes."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray.cluster_utils

    with tempfile.TemporaryDirectory(prefix="ragqa-", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        machines: Any = ray.cluster_utils.Cluster(
            initialize_head=True, head_node_args={**head, "_system_config": HEALTH}
        )
        try:
            yield machines
        finally:
            machines.shutdown()
