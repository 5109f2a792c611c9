"""sentence-transformers' trainer of multi-vector encoders, made quiet and resumable. It imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoderTrainer
from transformers import TrainerCallback

WEIGHTS = "trained.safetensors"


class QuietTrainer(MultiVectorEncoderTrainer):
    """A trainer whose checkpoints hold the weights that are trained and nothing else.

    With LoRA these are a few megabytes. The library's own checkpoints are whole models, which cannot be
    read back into one that has adapters in it.
    """

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the card out: it asks the hub about models and data sets."""

    def compute_loss(self, model: Any, *arguments: Any, **others: Any) -> Any:
        # Without dropout, as texts are encoded later: half the time of a step on a CPU, and few steps do
        # not overfit.
        model.eval()
        return super().compute_loss(model, *arguments, **others)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_weights(self.model), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.model if model is None else model, Path(resume_from_checkpoint))


class Watch(TrainerCallback):
    """Tells how far training is, saves now and then, and stops when time is up."""

    def __init__(
        self, on_step: Callable[[int, int | None], None], save_every_s: float, most_s: float
    ) -> None:
        self.on_step = on_step
        self.save_every_s = save_every_s
        self.most_s = most_s
        self.started = self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.started = self.saved = time.monotonic()
        self.on_step(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        now = time.monotonic()
        if now - self.started >= self.most_s:
            control.should_training_stop = True
        if now - self.saved >= self.save_every_s:
            self.saved = now
            control.should_save = True
        self.on_step(state.global_step, state.max_steps)


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return what is trained of `model`, by name."""
    return {
        name: value.detach().contiguous() for name, value in model.named_parameters() if value.requires_grad
    }


def load_trained(model: Any, checkpoint: Path) -> None:
    """Put the weights of a checkpoint back into the model that it was made of."""
    kept = load_file(checkpoint / WEIGHTS)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.copy_(kept[name])
