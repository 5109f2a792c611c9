"""What makes RAGatouille 0.0.9 and the colbert-ai beneath it load, keep silent and obey.

Importing is the expensive and the dangerous part: whoever uses the library calls `tamed()` first.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from ragqa.encoders.device import Compute
from ragqa.errors import RagqaError, require

# The C++ extensions that encoding and reranking need, and those that searching an index needs besides.
ENCODING = ("segmented_maxsim_cpp",)
SEARCHING = (*ENCODING, "filter_pids_cpp", "decompress_residuals_cpp", "segmented_lookup_cpp")
# Longer than any of them takes to compile.
STALE_LOCK_S = 600


def tamed(compute: Compute) -> None:
    """Import RAGatouille so that it loads, keeps silent and obeys `compute`.

    The library keeps its device in module globals, so that one process has one: the last that was
    asked for.
    """
    device = compute.torch_device()
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        raise RagqaError(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, and an index file could then run code: unset it."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require("ragatouille", "RAGatouille's engine", "ragqa[plaid]")
        import_module("ragatouille.models.index")
        from colbert.infra.config.settings import RunSettings
        from colbert.modeling import checkpoint, hf_colbert
    # Advice on the libraries' own code, which its users can do nothing about.
    warnings.filterwarnings("ignore", module=r"colbert\.|ragatouille\.|torch\.cuda\.amp\.")
    _silence()
    _set_device(device, RunSettings)
    if not hasattr(hf_colbert, "_ragqa"):
        hf_colbert._ragqa = True
        hf_colbert.AutoConfig = SimpleNamespace(from_pretrained=_local_code_only(hf_colbert.AutoConfig))
        _mend_classes(hf_colbert)
    checkpoint.Checkpoint._ragqa_dtype = compute.dtype
    _mend_checkpoint(checkpoint.Checkpoint)


def ensure_compiled(extensions: Sequence[str]) -> None:
    """Say so where C++ extensions are yet to be compiled; raise RagqaError where there is no compiler."""
    from torch.utils.cpp_extension import _get_build_directory

    # pip puts ninja beside the interpreter, where it is not found unless the environment is activated.
    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    built = [Path(_get_build_directory(name, verbose=False)) / f"{name}.so" for name in extensions]
    for path in built:
        # A compilation that was killed leaves a lock behind, on which torch would wait for ever.
        lock = path.with_name("lock")
        if lock.exists() and time.time() - lock.stat().st_mtime > STALE_LOCK_S:
            lock.unlink(missing_ok=True)
    if all(path.exists() for path in built):
        return
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise RagqaError(
            f"RAGatouille compiles C++ extensions once, and there is no compiler {compiler!r} here: "
            "install one (Debian: apt install g++; macOS: xcode-select --install)."
        )
    print("Compiling RAGatouille's C++ extensions, once; this takes a minute or two.", file=sys.stderr)


def _silence() -> None:
    """Take `print` and progress bars away from the modules of both libraries."""

    def quiet(*args: object, **kwargs: object) -> None:
        return None

    def bare(items: Any = (), *args: object, **kwargs: object) -> Any:
        return items

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("colbert", "ragatouille", "utility", "fast_pytorch_kmeans"):
            module.__dict__["print"] = quiet
            bar = module.__dict__.get("tqdm")
            if isinstance(bar, ModuleType):
                module.__dict__["tqdm"] = SimpleNamespace(tqdm=bare)
            elif isinstance(bar, type):
                module.__dict__["tqdm"] = bare


def _set_device(device: str, settings: Any) -> None:
    import torch
    from colbert import parameters

    on_cuda = device.startswith("cuda")
    if on_cuda:
        torch.cuda.set_device(torch.device(device if ":" in device else "cuda:0"))
    parameters.DEVICE = torch.device(device)
    for name, module in list(sys.modules.items()):
        if name.startswith("colbert.") and "DEVICE" in module.__dict__:
            module.__dict__["DEVICE"] = parameters.DEVICE
    # One GPU at most: more would make the library start a process for each.
    settings.total_visible_gpus = int(on_cuda)


def _local_code_only(config: Any) -> Callable[..., Any]:
    def from_pretrained(name: str, **kwargs: Any) -> Any:
        loaded = config.from_pretrained(name, trust_remote_code=False)
        if getattr(loaded, "auto_map", None):
            raise RagqaError(f"The checkpoint {name} brings its own code, which ragqa does not run.")
        return loaded

    return from_pretrained


def _mend_classes(hf_colbert: Any) -> None:
    """Call `post_init` at the end of HF_ColBERT's constructor, which transformers 5 wants and it forgets."""
    made = hf_colbert.class_factory

    def class_factory(name: str) -> Any:
        cls = made(name)
        init = cls.__init__

        def mended(self: Any, config: Any, colbert_config: Any) -> None:
            init(self, config, colbert_config)
            self.post_init()

        cls.__init__ = mended
        return cls

    for module in list(sys.modules.values()):
        if getattr(module, "class_factory", None) is made:
            module.__dict__["class_factory"] = class_factory


def _mend_checkpoint(cls: Any) -> None:
    """Give exported checkpoints their own tokenizers, and every model the configured number format."""
    if hasattr(cls, "_ragqa_init"):
        return
    cls._ragqa_init = cls.__init__

    def init(self: Any, name: str, colbert_config: Any = None, verbose: int = 0) -> None:
        import torch

        from ragqa.encoders.ragatouille.stanford import DocumentTokenizer, QuestionTokenizer, read_layout

        cls._ragqa_init(self, str(name), colbert_config, verbose)
        layout = read_layout(Path(name))
        if layout is not None:
            self.query_tokenizer = QuestionTokenizer(layout, self.raw_tokenizer)
            self.doc_tokenizer = DocumentTokenizer(layout, self.raw_tokenizer)
            self.skiplist = dict.fromkeys(layout.skiplist, True)
        if cls._ragqa_dtype != "auto":
            self.model.to(getattr(torch, cls._ragqa_dtype))

    cls.__init__ = init
