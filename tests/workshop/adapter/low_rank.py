"""The embedded model with low-rank factors beside its weights (LoRA, Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad

from ragqa.encoders.device import cores, has_bfloat16
from ragqa.encoders.embedded import minilm

# Texts that one thread encodes at a time.
PART = 8
# How much the factors' product counts: a common choice, which the learning rate is for.
SCALE = 2.0


class _Merged(torch.autograd.Function):
    """A linear layer of weight + SCALE * up @ down, with gradients for the factors alone.

    One product for the sum of both, in the inputs' number format, instead of three.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, down: Tensor, up: Tensor) -> Tensor:
        merged = (weight + SCALE * (up @ down)).to(inputs.dtype)
        ctx.save_for_backward(inputs, merged, down, up)
        return linear(inputs, merged, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        inputs, merged, down, up = ctx.saved_tensors
        rows, out = inputs.reshape(-1, inputs.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_up = SCALE * (out.T @ (rows @ down.to(rows.dtype).T)).float()
        of_down = SCALE * ((out @ up.to(out.dtype)).T @ rows).float()
        of_inputs = gradient @ merged if ctx.needs_input_grad[0] else None
        return of_inputs, None, None, of_down, of_up


class LowRankLinear(nn.Module):
    """Stands in for a linear layer, which stays as it is, and learns what is added to its weight."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().float(), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, inputs: Tensor) -> Tensor:
        merged: Tensor = _Merged.apply(inputs, self.weight, self.bias, self.down, self.up)  # type: ignore[no-untyped-call]
        return merged


class Encoded(NamedTuple):
    """Texts as a model sees them; all vectors are normalised.

    `tokens` (texts, tokens, dimensions) are what the projection makes of `whole` (texts, tokens, 384),
    `counts` tells which of them count, `means` (texts, 384) are the texts' own vectors.
    """

    tokens: Tensor
    whole: Tensor
    counts: Tensor
    means: Tensor


class Model:
    """The embedded transformer with factors in each layer, and the projection behind it.

    It computes in bfloat16 where the processor multiplies that natively, and in float32 elsewhere. Parts of a
    batch run on a thread each, with torch's own threads turned off.
    """

    def __init__(self, rank: int, dimensions: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(1)
        folder = minilm.verified_folder()
        self.tokenizer = cast(Any, AutoTokenizer.from_pretrained(folder))
        number = torch.bfloat16 if has_bfloat16() else torch.float32
        self.transformer = AutoModel.from_pretrained(folder).eval().to(number)
        self.transformer.requires_grad_(False)
        self.layers: dict[str, LowRankLinear] = {}
        for name, layer in list(self.transformer.named_modules()):
            if isinstance(layer, nn.Linear) and ".layer." in name:
                parent, _, last = name.rpartition(".")
                self.layers[name] = LowRankLinear(layer, rank)
                setattr(self.transformer.get_submodule(parent), last, self.layers[name])
        self.projection = nn.Parameter(torch.eye(dimensions, minilm.DIMENSIONS))
        punctuation = {self.tokenizer.convert_tokens_to_ids(mark) for mark in string.punctuation}
        self._skipped = torch.tensor(sorted(punctuation - {self.tokenizer.unk_token_id}))
        self._threads = ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,))
        self._open: list[tuple[Tensor, Tensor]] = []

    def factors(self) -> list[nn.Parameter]:
        return [factor for layer in self.layers.values() for factor in (layer.down, layer.up)]

    def start_projection(self, texts: Sequence[Tensor], rng: np.random.Generator) -> None:
        """Set the projection to the main directions of the token vectors of a sample of `texts`.

        They are turned at random, so that no dimension has more to say than the others: all get the same
        number of bits.
        """
        places = rng.choice(len(texts), min(800, len(texts)), replace=False)
        rows = torch.cat([texts[place].float() for place in places])
        size = len(self.projection)
        turned = np.linalg.qr(rng.standard_normal((size, size)))[0].astype(np.float32)
        main = torch.linalg.svd(rows.T @ rows)[0][:, :size].T
        self.projection.data = (torch.from_numpy(turned) @ main).contiguous()

    def start_from(self, adapter: Mapping[str, NDArray[Any]]) -> None:
        """Set factors and projection to those of an adapter of the same rank and dimensions."""
        self.projection.data = torch.from_numpy(adapter[minilm.PROJECTION].astype(np.float32))
        for name, layer in self.layers.items():
            down, up = (adapter[f"{name}.weight{end}"].astype(np.float32) for end in (minilm.DOWN, minilm.UP))
            layer.down.data, layer.up.data = torch.from_numpy(down), torch.from_numpy(up) / SCALE

    def encode(self, texts: Sequence[str], limit: int, document: bool) -> Encoded:
        """Return what the losses compare; gradients end at the hidden states: `backward` carries them on."""
        ids = [self.tokenizer(text, truncation=True, max_length=limit)["input_ids"] for text in texts]
        order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
        parts = [order[start : start + PART] for start in range(0, len(order), PART)]
        batches = [_padded([ids[place] for place in part]) for part in parts]
        graph = torch.is_grad_enabled()

        def run(batch: tuple[Tensor, Tensor]) -> Tensor:
            # Whether gradients are kept is a thread's own matter.
            with torch.set_grad_enabled(graph):
                states: Tensor = self.transformer(input_ids=batch[0], attention_mask=batch[1])[0]
                return states.float()

        states = list(self._threads.map(run, batches))
        leaves = [state.detach().requires_grad_(graph) for state in states]
        if graph:
            self._open += zip(states, leaves, strict=True)
        longest = batches[0][0].shape[1]
        made = []
        for leaf, (tokens, mask) in zip(leaves, batches, strict=True):
            counts = mask.bool() & ~torch.isin(tokens, self._skipped) if document else mask.bool()
            room = longest - tokens.shape[1]
            rows, whole = (normalize(each, dim=-1) for each in (leaf @ self.projection.T, leaf))
            means = normalize((leaf * mask[..., None]).sum(1), dim=-1)
            made.append(
                (*(pad(each, (0, 0, 0, room)) for each in (rows, whole)), pad(counts, (0, room)), means)
            )
        back = torch.argsort(torch.tensor(order))
        return Encoded(*(torch.cat(list(each))[back] for each in zip(*made, strict=True)))

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, whose texts were encoded since the last time, to all parameters."""
        loss.backward()  # type: ignore[no-untyped-call]
        opened, self._open = self._open, []
        list(self._threads.map(lambda pair: pair[0].backward(pair[1].grad), opened))

    def adapter(self) -> dict[str, NDArray[np.float16]]:
        """Return the tensors of an adapter file, as `ragqa.encoders.embedded.minilm` reads them."""
        tensors: dict[str, Tensor] = {minilm.PROJECTION: self.projection}
        for name, layer in self.layers.items():
            tensors[f"{name}.weight{minilm.UP}"] = SCALE * layer.up
            tensors[f"{name}.weight{minilm.DOWN}"] = layer.down
        return {name: tensors[name].detach().numpy().astype(np.float16) for name in sorted(tensors)}


def _padded(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    tokens = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for place, row in enumerate(ids):
        tokens[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return tokens, mask
