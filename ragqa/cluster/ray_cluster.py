"""Ray itself: started on this machine or joined where it runs, quietly, and what it has to work with."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragqa.encoders.device import cores
from ragqa.errors import RagqaError, UsageError, require, unknown_name

ENGINES = ("local", "ray")
EXTRA = "ragqa[scale]"
CONNECT_S = 10.0
# What waits for its turn are a few batches; more than this goes to the disk.
OBJECT_BYTES = 128 * 2**20
# Read by Ray when it is imported: no report of its use to its makers, no warnings and advice on stderr, and
# nothing of this folder sent to the nodes where `uv run` started ragqa.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
# Ray's word for "listen on 127.0.0.1 and nowhere else". By default every interface is listened on, and
# whoever reaches one may have anything run.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster; `name` tells it apart for people, and no other one has it."""

    id: str
    name: str
    cores: int
    gpus: int


class Cluster:
    """A Ray cluster, reached at the first use and left, or ended where it was started here, by `close`.

    `address` is "auto" (the one that runs on this machine), HOST:PORT of its head, or ray://HOST:PORT; None
    starts one of this machine's cores. `worker_cores` are those of each worker, None: all of its machine.
    Raises RagqaError when Ray is not installed, UsageError for what is no address.
    """

    def __init__(self, address: str | None = None, worker_cores: int | None = None) -> None:
        if address is not None:
            _check_address(address)
        _set_up(local=address is None)
        require("ray", "--engine ray", EXTRA)
        if address is not None and address.startswith("ray://"):
            require("grpc", "An address that begins with ray://", "ray[client]")
        self.address = address
        self.worker_cores = worker_cores
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._joined = False

    def connect(self) -> None:
        """Start or join it, once; raises RagqaError when that cannot be done."""
        if self._joined:
            return
        import ray
        import ray._private.worker

        # What happens to other machines is printed on stdout, and this is all that keeps it off.
        ray._private.worker._worker_logs_enabled = False
        self._joined = True
        if self.address is not None and ":" in self.address:
            _reach(self.address.removeprefix("ray://"))
        try:
            with _uninterrupted():
                ray.init(**self._options(), log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # what Ray raises where it cannot start or connect is anybody's guess
            if self.address == "auto" and isinstance(error, ConnectionError):
                raise RagqaError(
                    "No Ray runs here: ray start --head starts one, and --address HOST:PORT names another."
                ) from error
            where = f"at {self.address}" if self.address else "on this machine"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            token = "RAY_AUTH_MODE" not in os.environ
            hint = " If it asks for a token, set RAY_AUTH_MODE=token." if self.address and token else ""
            raise RagqaError(f"Ray {where} cannot be used: {reason}.{hint}") from error

    def _options(self) -> dict[str, Any]:
        if self.address is not None:
            return {"address": self.address}
        # Paths of sockets may have a hundred characters, and Ray's own begin with fifty.
        parent = "/tmp" if Path("/tmp").is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="ragqa-", dir=parent, ignore_cleanup_errors=True)
        return {
            "address": "local",
            "num_cpus": cores(),
            "object_store_memory": OBJECT_BYTES,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": self._folder.name,
        }

    def nodes(self) -> list[Node]:
        """Return the machines that are there now, in the order in which they came."""
        import ray

        found: list[Node] = []
        listed: Callable[[], list[dict[str, Any]]] = ray.nodes
        for node in listed():
            resources = node["Resources"]
            if not node["Alive"]:
                continue
            address = str(node["NodeManagerAddress"])
            same = sum(other.name.partition(" ")[0] == address for other in found)
            name = f"{address} ({same + 1})" if same else address
            counts = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
            found.append(Node(node["NodeID"], name, *counts))
        return found

    def close(self) -> None:
        """Leave it; one that was started here ends, with all that runs in it."""
        if self._joined:
            import ray

            with suppress(Exception):  # a Ray that died cannot be left in good order
                ray.shutdown()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def open_cluster(engine: str, address: str | None, worker_cores: int | None) -> Iterator[Cluster | None]:
    """Yield the cluster that the options --engine, --address and --worker-cores name; None for this process.

    Raises what `Cluster` raises, and UsageError for an unknown engine or options that it does not have.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if engine == "ray":
        with Cluster(address, worker_cores) as cluster:
            yield cluster
        return
    if address is not None or worker_cores is not None:
        raise UsageError("--address and --worker-cores are for --engine ray.")
    yield None


def _set_up(local: bool) -> None:
    """Set what Ray reads of the environment when it is imported; what the user has set stays."""
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    if local:
        os.environ.update(LOOPBACK)
        # Other users of this machine reach 127.0.0.1, too: only who knows the word may have anything run.
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait for the end of the block: a Ray that is half started makes the process crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt


def _check_address(address: str) -> None:
    if address != "auto" and not re.fullmatch(r"(ray://)?(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}", address):
        raise UsageError(f"{address!r} is no address of Ray: auto, HOST:PORT or ray://HOST:PORT.")


def _reach(address: str) -> None:
    """Raise RagqaError when nobody listens there: Ray itself would try for minutes, and say it at length."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_S):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RagqaError(
            f"No Ray can be reached at {address}: {reason}. ray status says where one runs."
        ) from error
