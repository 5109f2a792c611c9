"""What is in the files of a PLAID index, for those who want to look."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

from ragqa.encoders.device import has_torch


def tensor_shapes(path: Path) -> list[str]:
    """Return type and shape of each tensor in a `.pt` file, which is read as tensors and nothing else."""
    if path.suffix != ".pt":
        return []
    if not has_torch():
        return ["not read, since torch is not installed: pip install 'ragqa[torch]'"]
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, OSError) as error:
        return [f"unreadable: {str(error).splitlines()[0]}"]
    tensors = loaded if isinstance(loaded, (tuple, list)) else [loaded]
    return [
        f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for tensor in tensors
        if isinstance(tensor, torch.Tensor)
    ]
