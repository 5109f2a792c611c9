"""Training itself: a base checkpoint, examples, and a folder that any engine loads.

RAGatouille's trainer (0.0.9, on colbert-ai 0.2.22) is no second engine here, because it does not run.
Without CUDA it starts no process and ends in an IndexError. One that it is told to start failed to load its
model, and nothing came back. Beyond that it wraps the model in DistributedDataParallel over NCCL, has a
seed of its own, cannot go on with a stopped run, and knows no adapters.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ragqa.encoders.device import Compute
from ragqa.encoders.hub import document_dtype, quieten, refuse_pickles
from ragqa.encoders.sentence_transformers import load_multi_vector
from ragqa.errors import RagqaError, require
from ragqa.train.negatives import Example

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

EXTRA = "ragqa[train]"
# Texts are cut for training, since a few long ones would make every batch slow; the checkpoint's own
# lengths stay as they are.
QUERY_TOKENS, DOCUMENT_TOKENS = 64, 128
# Scores are the mean over a question's tokens, between -1 and 1, so that questions of any length count the
# same; the temperatures are those of InfoNCE and of the teacher's scores, which are scaled to 0..1.
TEMPERATURE = 0.05
TEACHER_TEMPERATURE = 0.25
LORA_RATE, FULL_RATE = 3e-4, 3e-5
WARMUP = 0.1
SAVE_EVERY_S = 60.0
# Steps whose mean loss is told of the beginning and the end.
FEW_STEPS = 10


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train. `rate` is the learning rate, None: what suits `lora` or full weights.

    `steps` and `minutes` are upper limits. The result depends on `minutes` and the machine's speed, else
    on nothing but the rest of these and the machine. `save_every_s` is between two checkpoints.
    """

    epochs: int = 2
    steps: int | None = None
    minutes: float | None = None
    batch: int = 32
    rate: float | None = None
    lora: bool = True
    rank: int = 16
    seed: int = 0
    save_every_s: float = SAVE_EVERY_S


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to: `steps` of `of` were made; losses are means over the first and last few."""

    steps: int
    of: int
    first_loss: float
    last_loss: float


def check_installed(lora: bool) -> None:
    """Raise RagqaError where a package is missing that training needs."""
    for module in ("accelerate", "datasets", *(("peft",) if lora else ()), "sentence_transformers"):
        require(module, "ragqa train", EXTRA)


def train_model(
    base: str,
    examples: Sequence[Example],
    settings: TrainingSettings,
    compute: Compute,
    work: Path,
    *,
    revision: str | None = None,
    on_step: Callable[[int, int | None], None] = lambda done, total: None,
) -> Trained:
    """Train `base` (a folder, a hub name or "embedded") and write it to `work/model`, whole or not at all.

    A checkpoint in `work` of a run that stopped is gone on with. Adapters are merged into the weights.
    Raises RagqaError when a package is missing or the base cannot be trained.
    """
    check_installed(settings.lora)
    refuse_pickles()
    quieten()
    from transformers import set_seed

    from ragqa.train.trainer import Watch

    set_seed(settings.seed)
    with warnings.catch_warnings():
        # Advice to the authors of the libraries.
        warnings.simplefilter("ignore")
        model = load_base(base, compute, revision)
        tuner = _with_adapters(model, settings) if settings.lora else None
        trainer = _trainer(model, examples, settings, compute, work)
        trainer.add_callback(Watch(on_step, settings.save_every_s, 60 * (settings.minutes or math.inf)))
        last = last_checkpoint(work)
        try:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        except RuntimeError as error:
            if "out of memory" in str(error).lower():
                raise RagqaError(
                    "There is not enough memory for such a batch: try a smaller --batch."
                ) from error
            raise
    if tuner is not None:
        merge(tuner)
    save_model(model, work / "model")
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    first, last_few = losses[:FEW_STEPS], losses[-FEW_STEPS:]
    return Trained(
        steps=trainer.state.global_step,
        of=trainer.state.max_steps,
        first_loss=sum(first) / max(len(first), 1),
        last_loss=sum(last_few) / max(len(last_few), 1),
    )


def load_base(base: str, compute: Compute, revision: str | None = None) -> MultiVectorEncoder:
    """Return the checkpoint to train, without what is no part of a late-interaction model."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    model = load_multi_vector(base, compute.torch_device(), revision)
    # The embedded model gives a text's embedding as well.
    for place, module in reversed(list(enumerate(model))):
        if isinstance(module, Pooling):
            del model[place]
    return model.float()


def merge(tuner: Any) -> None:
    """Add the adapters to the weights that they stand beside, and take them out of the model."""
    tuner.merge_and_unload(safe_merge=True)


def save_model(model: MultiVectorEncoder, folder: Path) -> None:
    """Write a model in sentence-transformers' layout to `folder`, which is there only when it is whole."""
    part = folder.with_name(f"{folder.name}.part")
    for leftover in (part, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    model.float().save_pretrained(str(part), create_model_card=False)
    os.replace(part, folder)


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest checkpoint in `work` that is whole: its state is written last."""
    found: list[tuple[int, Path]] = []
    for state in (work / "checkpoints").glob("checkpoint-*/trainer_state.json"):
        with suppress(OSError, ValueError):
            found.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
    return max(found)[1] if found else None


def _with_adapters(model: MultiVectorEncoder, settings: TrainingSettings) -> Any:
    """Put low-rank adapters beside every linear layer of the transformer (Hu et al. 2021, arXiv:2106.09685).

    They are put into the model in place; what is returned can merge them. A projection after the
    transformer is small and trained as it is.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear")
    return get_peft_model(cast(Any, model[0]).auto_model, config)


def _trainer(
    model: MultiVectorEncoder,
    examples: Sequence[Example],
    settings: TrainingSettings,
    compute: Compute,
    work: Path,
) -> Any:
    from transformers.trainer_callback import PrinterCallback

    from ragqa.train.trainer import QuietTrainer

    trainer = QuietTrainer(
        model=model,
        args=_arguments(model, settings, compute, work),
        train_dataset=_dataset(examples),
        loss=_loss(model, distilled=bool(examples[0].scores)),
    )
    # It prints to stdout.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(model: MultiVectorEncoder, settings: TrainingSettings, compute: Compute, work: Path) -> Any:
    import torch
    from sentence_transformers.multi_vector_encoder.training_args import MultiVectorEncoderTrainingArguments

    device = compute.torch_device()
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(work / "checkpoints"),
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.rate or (LORA_RATE if settings.lora else FULL_RATE),
        warmup_steps=WARMUP,
        lr_scheduler_type="linear",
        seed=settings.seed,
        data_seed=settings.seed,
        # The same question, or the same passage, twice in a batch would be a negative of itself.
        batch_sampler="no_duplicates",
        max_length=_lengths(model),
        bf16=document_dtype(device, compute.dtype) == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device.startswith("cuda"),
        save_strategy="no",
        save_total_limit=1,
        logging_strategy="steps",
        logging_steps=1,
        disable_tqdm=True,
        report_to="none",
    )
    # One device, as the config says, however many there are.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _lengths(model: MultiVectorEncoder) -> dict[str, int]:
    transformer = cast(Any, model[0])
    limit = transformer.max_seq_length or DOCUMENT_TOKENS
    return {
        "query": min(QUERY_TOKENS, int(getattr(transformer, "query_length", None) or limit)),
        "document": min(DOCUMENT_TOKENS, int(getattr(transformer, "document_length", None) or limit)),
    }


def _dataset(examples: Sequence[Example]) -> Any:
    from datasets import Dataset

    columns: dict[str, list[Any]] = {"query": [example.query for example in examples]}
    for place in range(len(examples[0].texts)):
        columns[f"document_{place}"] = [example.texts[place] for example in examples]
    if examples[0].scores:
        columns["label"] = [_scaled(example.scores) for example in examples]
    return Dataset.from_dict(columns)


def _scaled(scores: Sequence[float]) -> list[float]:
    """Return scores from 0 to 1: teachers have scales of their own."""
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 0.0 for score in scores]


def _loss(model: MultiVectorEncoder, *, distilled: bool) -> Any:
    """Return InfoNCE over the batch with its hard negatives, or the divergence from a teacher's scores."""
    from sentence_transformers.multi_vector_encoder import losses, scoring

    if distilled:
        return losses.MultiVectorDistillKLDivLoss(
            model,
            similarity_fct=scoring.mean_colbert_kd_scores,
            student_temperature=TEMPERATURE,
            teacher_temperature=TEACHER_TEMPERATURE,
        )
    return losses.MultiVectorMultipleNegativesRankingLoss(
        model, scale=1 / TEMPERATURE, similarity_fct=scoring.mean_colbert_scores
    )
