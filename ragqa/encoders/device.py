"""What the models run on: device, number format, threads. The one place that reads `device:`."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ragqa.errors import UsageError, missing_package, unknown_name

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Compute:
    """What models run on, as the config names it: `device`, and `dtype`, the number format.

    With dtype "auto" documents are encoded in the fastest format that loses nothing on the device,
    questions in float32.
    """

    device: str = "auto"
    dtype: str = "auto"

    def check(self) -> None:
        """Raise UsageError for names that mean nothing, without loading torch."""
        check_device(self.device)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)

    def torch_device(self) -> str:
        """Return the torch device; raises UsageError when it is not there."""
        return resolve_device(self.device)


def resolve_device(name: str) -> str:
    """Return the torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UsageError for a name that is none of these, and for a device that is not there; RagqaError where
    torch would have to be there to look for it.
    """
    check_device(name)
    if name == "cpu":
        return name
    if name != "auto" and not has_torch():
        raise missing_package(f"The device {name}", "torch", "ragqa[torch]")
    there = available_devices()
    if name == "auto":
        return next((device for device in ("cuda", "mps") if device in there), "cpu")
    if name not in there:
        raise UsageError(f"The device {name} is not on this machine. There is: {', '.join(there)}.")
    return name


def check_device(name: str) -> None:
    """Raise UsageError when `name` is not the name of a device, without loading torch to look for it."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"There is no device {name!r}. Known: auto, cpu, cuda, cuda:N, mps.")


def has_torch() -> bool:
    """Tell, without loading them, whether torch and the engine that runs on it are installed."""
    return all(find_spec(name) is not None for name in ("torch", "sentence_transformers"))


def available_devices() -> list[str]:
    """Return the devices that models can use here, "cpu" first; without torch it is the only one."""
    if not has_torch():
        return ["cpu"]
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *mps]


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def onnx_session(model: bytes, threads: int = 1, weights: Path | None = None) -> InferenceSession:
    """Return an onnxruntime session for a serialised model, whose external weights are in that folder.

    Its threads sleep when they have nothing to do. By default they spin, and numpy's threads beside
    them get half a core each: what follows an encoded question takes three times as long.
    """
    # What PyPI has reports what it is used for to its makers unless it is told not to before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights is not None:
        folder = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder, str(weights))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def may_have_accelerator() -> bool:
    """Tell, without loading torch to look for it, whether a GPU may be here: False is certain."""
    if platform.system() == "Linux":
        return any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    return not (platform.system() == "Darwin" and platform.machine() == "x86_64")


@cache
def has_bfloat16() -> bool:
    """Tell, without loading torch, whether the processor multiplies bfloat16 natively; Linux says it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None
