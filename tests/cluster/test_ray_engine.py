"""The Ray engine against the local one: the same rows, whatever dies on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Read when Ray is imported: all of this stays on 127.0.0.1.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray", reason="Ray is not installed: pip install 'ragqa[scale]'")

from ragqa.cluster import ray_pool
from ragqa.cluster.ray_cluster import Cluster
from ragqa.cluster.ray_index import Encoding, RayEngine
from ragqa.cluster.ray_search import RaySearch, Strategy
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.matrix import run_matrix
from ragqa.evaluate.plan import Plan
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.store import RunStore
from ragqa.index import passage_store
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline

from ..conftest import Run, fill

# Ray leaves its own files open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
# A node that died is known as dead within two seconds.
IMPATIENT = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 2,
}
# How the processes that do the work call themselves.
WORKER = "ray::Worker"
NOTES = 40
QUESTIONS = QuestionSet(
    "notes",
    tuple(JudgedQuestion(str(n), f"What is said of thing {n}?", {f"{n}.md": 1}) for n in range(0, NOTES, 2)),
)


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster of this machine alone; its head has no cores, and tests add and remove nodes."""
    import ray.cluster_utils

    with tempfile.TemporaryDirectory(prefix="ragqa-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = {"num_cpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_TMPDIR", folder)
            cluster = ray.cluster_utils.Cluster(
                initialize_head=True, head_node_args={**head, "_system_config": IMPATIENT}
            )
            yield cluster
            cluster.shutdown()
            # Workers of a node that was killed may still be at their work.
            for process in living(folder):
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
        wait_for(lambda: not living(folder))


@pytest.fixture
def node(machines: Any) -> Iterator[Any]:
    """A node with one core, which is gone after the test."""
    before = set(machines.worker_nodes)
    yield machines.add_node(**NODE)
    for added in set(machines.worker_nodes) - before:
        machines.remove_node(added, allow_graceful=False)
    # It takes a while to be seen that a node is dead, and until then the next test's workers go there.
    machines.wait_for_nodes()


@pytest.fixture
def unindexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus without vectors, which takes ten batches."""
    monkeypatch.setattr(passage_store, "COMMIT_EVERY", 4)
    folder = tmp_path / "things"
    folder.mkdir()
    for n in range(NOTES):
        text = f"# Thing {n}\n\nThing {n} is kept in drawer {n * 7 % 13}. " + "It is of use. " * (n % 9)
        (folder / f"{n}.md").write_text(text, encoding="utf-8")
    path = tmp_path / "things.db"
    fill(path, folder)
    return path


@pytest.fixture
def indexed(unindexed: Path, tmp_path: Path) -> Path:
    """The same corpus as the local engine indexes it."""
    path = Path(shutil.copy(unindexed, tmp_path / "local.db"))
    with Pipeline.from_config("default", path) as pipeline:
        build_index(pipeline)
    return path


def index(
    path: Path, cluster: Cluster, on_passages: Callable[[int, int | None], None] = lambda done, total: None
) -> None:
    with (
        cluster,
        Pipeline.from_config("default", path) as pipeline,
        RayEngine(cluster, pipeline) as engine,
    ):
        build_index(pipeline, on_passages=on_passages, engine=engine)


def dump(path: Path) -> dict[str, list[Any]]:
    tables = ("encoders", "token_vectors", "dense_vectors")
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()
            for table in tables
        }


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def living(mark: str) -> list[str]:
    """Return the processes that were started with `mark` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
    return found


def processes(name: str, below: int = os.getpid()) -> list[int]:
    """Return the processes below one, by default this one, that call themselves by this name."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            command = (folder / "cmdline").read_text(encoding="utf-8").partition("\0")[0]
        except OSError:
            continue
        parents[int(folder.name)] = int(stat[1])
        if stat[0] != "Z" and command.startswith(name):
            found.append(int(folder.name))

    def is_below(process: int) -> bool:
        while process in parents and process != below:
            process = parents[process]
        return process == below

    return [process for process in found if is_below(process)]


def test_two_nodes_make_what_one_process_makes(
    machines: Any, node: Any, unindexed: Path, indexed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machines.add_node(**NODE)

    index(unindexed, Cluster(machines.address))

    assert dump(unindexed) == dump(indexed)
    assert len(dump(indexed)["token_vectors"]) == NOTES
    assert capfd.readouterr() == ("", "")


def test_each_gpu_has_a_worker_of_its_own(
    machines: Any, unindexed: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RAGatouille hides all GPUs from its process, and with it from the nodes that are started here.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # Ray believes what it is told: on these GPUs the device "auto" comes to the CPU.
    node = machines.add_node(**{**NODE, "num_cpus": 2, "num_gpus": 2})
    index(
        unindexed,
        Cluster(machines.address),
        lambda done, total: wait_for(lambda: len(processes(WORKER)) == 2),
    )
    machines.remove_node(node, allow_graceful=False)

    assert dump(unindexed) == dump(indexed)


def test_what_a_killed_worker_had_is_done_again(
    machines: Any, node: Any, unindexed: Path, indexed: Path
) -> None:
    killed: list[int] = []

    def kill(done: int, total: int | None) -> None:
        if not killed:
            killed.extend(processes(WORKER))
            os.kill(killed[0], signal.SIGKILL)

    index(unindexed, Cluster(machines.address), kill)

    assert killed
    assert dump(unindexed) == dump(indexed)


def test_what_a_killed_node_had_is_done_by_one_that_joins(
    machines: Any, node: Any, unindexed: Path, indexed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    def kill(done: int, total: int | None) -> None:
        if not seen:
            # Nothing of what it is at is to be finished.
            os.kill(*processes(WORKER), signal.SIGSTOP)
            machines.add_node(**NODE)
            machines.remove_node(node, allow_graceful=False)
        seen.append(done)

    index(unindexed, Cluster(machines.address), kill)

    assert seen[0] == 4
    assert dump(unindexed) == dump(indexed)
    assert capfd.readouterr() == ("", "")


def test_without_a_worker_it_breaks_off_and_goes_on_where_it_was(
    machines: Any, node: Any, unindexed: Path, indexed: Path
) -> None:
    killed: list[int] = []

    def kill(done: int, total: int | None) -> None:
        # Several batches may come at once, so that no report says 8.
        if done >= 8 and not killed:
            killed.append(done)
            # It would go on for a while without its node.
            os.kill(*processes(WORKER), signal.SIGSTOP)
            machines.remove_node(node, allow_graceful=False)

    with pytest.raises(RagqaError, match=r"No Ray worker is left .* the same command goes on from there"):
        index(unindexed, Cluster(machines.address), kill)
    half = len(dump(unindexed)["token_vectors"])
    machines.add_node(**NODE)
    seen: list[int | None] = []
    index(unindexed, Cluster(machines.address), lambda done, total: seen.append(total))

    assert 8 <= half < NOTES
    assert seen[0] == NOTES - half
    assert dump(unindexed) == dump(indexed)


def test_nothing_is_started_where_nothing_is_missing(indexed: Path) -> None:
    # Nobody listens there.
    index(indexed, Cluster("127.0.0.1:1"))


def test_another_version_on_a_node_is_refused(
    machines: Any, node: Any, unindexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "__version__", "0.0")

    with pytest.raises(RagqaError, match=r"The node 127\.0\.0\.1.* has ragqa .*, and this machine has 0\.0"):
        index(unindexed, Cluster(machines.address))


def test_another_model_on_a_node_is_refused(indexed: Path) -> None:
    with Pipeline.from_config("default", indexed) as pipeline:
        config = pipeline.config.model_dump_json()
    other = Encoding(config, {("token_vectors", "0" * 64): '{"model": "some/model"}'})

    with pytest.raises(RagqaError, match="The model some/model is another one there"):
        other.load()


def test_a_cluster_without_cores_is_said(machines: Any, unindexed: Path) -> None:
    machines.wait_for_nodes()
    with pytest.raises(RagqaError, match="No node of the Ray cluster has cores for a worker"):
        index(unindexed, Cluster(machines.address))


def test_a_gpu_of_one_machine_is_refused(unindexed: Path) -> None:
    with Pipeline.from_config("default", unindexed) as pipeline:
        config = pipeline.config.model_copy(update={"device": "cuda:1"})

        with pytest.raises(UsageError, match="say cuda instead of cuda:1"):
            RayEngine(Cluster("auto"), Pipeline(config, pipeline.corpus))


def test_an_address_where_nobody_listens_is_an_error(unindexed: Path) -> None:
    with pytest.raises(RagqaError, match=r"No Ray can be reached at 127\.0\.0\.1:1: Connection refused"):
        index(unindexed, Cluster("127.0.0.1:1"))


# -- a Ray of one's own ---------------------------------------------------------------------------


def test_without_an_address_a_ray_of_its_own_makes_the_same(
    ragqa: Run, unindexed: Path, indexed: Path
) -> None:
    # One batch of 256 here, because the command is a process of its own.
    done = ragqa("index", "--db", unindexed, "--engine", "ray", "--worker-cores", "1", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["stages"] == {"fts": NOTES, "dense": NOTES, "colbert": NOTES}
    assert dump(unindexed) == dump(indexed)
    wait_for(lambda: not living(os.environ["HOME"]))


def test_ctrl_c_ends_the_ray_of_its_own(unindexed: Path) -> None:
    command = [sys.executable, "-m", "ragqa", "index", "--db", str(unindexed), "--engine", "ray"]
    # A shell starts what runs in the background with the signal ignored, and children inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, inherited)
    wait_for(lambda: processes(WORKER, below=process.pid))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, "", "")
    wait_for(lambda: not living(os.environ["HOME"]))


# -- eval run -------------------------------------------------------------------------------------


def asked(path: Path, runs: Path, models: list[str], engine: RaySearch | None = None) -> list[Any]:
    """Return all that the runs of two configs hold, but when and how long."""
    with ExitStack() as stack:
        pipelines = [stack.enter_context(Pipeline.from_config(name, path)) for name in ("fts", "default")]
        store = stack.enter_context(RunStore.open(runs, create=True))
        plan = Plan(QUESTIONS, models=models or [None], answers=bool(models))
        numbers = run_matrix(pipelines, plan, store, engine=engine)
        found = store.find([str(number) for number in numbers])
    return [
        (
            replace(run.info, id=0, batch=0, created="", environment={}),
            {place: replace(result, timings_ms={}) for place, result in run.results.items()},
        )
        for run in found
    ]


@pytest.mark.parametrize("models", [[], ["fake"]])
def test_a_run_is_the_one_that_this_process_makes(
    machines: Any, node: Any, indexed: Path, tmp_path: Path, models: list[str], fake_models: SimpleNamespace
) -> None:
    machines.add_node(**NODE)
    with Cluster(machines.address) as cluster:
        ours = asked(indexed, tmp_path / "ray.db", models, RaySearch(cluster))

    assert ours == asked(indexed, tmp_path / "own.db", models)
    assert [len(results) for _, results in ours] == [len(QUESTIONS.questions)] * 2


def test_questions_that_a_killed_worker_had_are_asked_again(
    machines: Any, node: Any, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, killed = RunStore.record, []

    def kill(store: RunStore, *result: Any) -> None:
        if not killed:
            killed.extend(processes(WORKER))
            os.kill(killed[0], signal.SIGKILL)
        record(store, *result)

    monkeypatch.setattr(RunStore, "record", kill)
    with Cluster(machines.address) as cluster:
        ours = asked(indexed, tmp_path / "ray.db", [], RaySearch(cluster))

    assert killed
    assert ours == asked(indexed, tmp_path / "own.db", [])


def test_a_corpus_that_a_machine_does_not_have_is_said(indexed: Path) -> None:
    with Pipeline.from_config("default", indexed) as pipeline:
        config = pipeline.config.model_dump_json()

    with pytest.raises(RagqaError, match="There is no corpus at /nowhere/notes.db"):
        Strategy(config, "/nowhere/notes.db", "", 10).open()
    with pytest.raises(RagqaError, match="has other documents there than on this machine"):
        Strategy(config, str(indexed), "", 10).open()
