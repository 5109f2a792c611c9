"""The recipe of the embedded model's adapter: `python -m ragqa.train.embedded ../shared/data`.

A loop of its own and no Trainer, because one pass over a text serves two losses, on token vectors and on
the mean of the states they come from; because their teacher needs BM25 within the batch; and because on
few cores that others use too, parts of a batch on a thread each wait less for one another than threads
within every operation. embedded.md beside this file says what each run was worth.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ragqa import embedded
from ragqa.train.embedded_pairs import KINDS, Material, Pair, make_pairs

if TYPE_CHECKING:
    from torch import Tensor

    from ragqa.train.low_rank import Model

QUERY_TOKENS = 32
# Of each kind, for a look at what was held out: queries, and texts that are not their answers.
LOOKED_AT, BESIDE = 100, 200
# Steps after which an adapter is written down that training may be broken off at.
KEEP_EVERY = 100


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the adapter, besides the data. `minutes` is when training ends that has not ended yet."""

    steps: int = 320
    minutes: float = 25
    rate: float = 5e-4
    projection_rate: float = 3e-4
    temperature: float = 0.05
    whole_weight: float = 0.5
    dense_weight: float = 0.3
    distil: float = 0.5
    faithful: float = 2.0
    pairs: int = 32
    negatives: int = 16
    rank: int = 16
    dimensions: int = 128
    tokens: int = 112
    seed: int = 1


class Teacher:
    """What the model as it was published says of any batch: its vectors of all texts, made once.

    They are kept in float16: some 3 GB for 34,000 pairs.
    """

    def __init__(self, model: Model, pairs: Sequence[Pair], tokens: int) -> None:
        self._queries = _vectors(model, [pair.query for pair in pairs], QUERY_TOKENS, False)
        self._texts = _vectors(model, [pair.text for pair in pairs], tokens, True)

    def scores(self, batch: list[int], rows: list[int]) -> tuple[Tensor, Tensor]:
        """Return mean MaxSim and cosines of means of the queries `batch` and the texts `rows`."""
        queries, query_counts, query_means = _stacked([self._queries[place] for place in batch])
        texts, counts, means = _stacked([self._texts[place] for place in rows])
        return maxsim(queries, query_counts, texts, counts), query_means @ means.T


def _vectors(model: Model, texts: list[str], limit: int, document: bool) -> list[tuple[Tensor, Tensor]]:
    import torch

    made = []
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            encoded = model.encode(texts[start : start + 64], limit, document)
            for whole, counts, mean in zip(encoded.whole, encoded.counts, encoded.means, strict=True):
                made.append((whole[counts].half(), mean))
    return made


def _stacked(vectors: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tokens = pad_sequence([rows.float() for rows, _ in vectors], batch_first=True)
    lengths = torch.tensor([len(rows) for rows, _ in vectors])
    counts = torch.arange(tokens.shape[1]) < lengths[:, None]
    return tokens, counts, torch.stack([mean for _, mean in vectors])


def loss_of(
    model: Model, material: Material, teacher: Teacher, batch: list[int], others: list[int], recipe: Recipe
) -> Any:
    """Return the loss of a batch, `others` being negatives for all of it, after a forward pass.

    InfoNCE over mean MaxSim of projected and of whole token vectors and over cosines of means; the
    divergence of each from the published model's fused ranking (BM25, cosines and twice MaxSim,
    standardised: what the config `default` fuses), which the model must not forget; and the divergence of
    what projected vectors say from what whole ones do.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rows = [*batch, *others]
    queries = model.encode([material.pairs[place].query for place in batch], QUERY_TOKENS, False)
    texts = model.encode([material.pairs[place].text for place in rows], recipe.tokens, True)
    projected = maxsim(queries.tokens, queries.counts, texts.tokens, texts.counts)
    whole = maxsim(queries.whole, queries.counts, texts.whole, texts.counts)
    cosines = queries.means @ texts.means.T
    gold = torch.arange(len(batch))
    same = torch.from_numpy(material.documents[batch][:, None] == material.documents[rows][None])
    same[gold, gold] = False
    with torch.no_grad():
        bm25 = torch.from_numpy((material.queries[batch] @ material.texts[rows].T).toarray())
        published = teacher.scores(batch, rows)
        fused = (_standard(bm25) + 2 * _standard(published[0]) + _standard(published[1])) / 4
        wanted = fused.masked_fill(same, -1e4).softmax(1)
        unprojected = (whole / recipe.temperature).masked_fill(same, -1e4).softmax(1)
    loss = torch.zeros(())
    for scores, weight in ((projected, 1.0), (whole, recipe.whole_weight), (cosines, recipe.dense_weight)):
        logits = (scores / recipe.temperature).masked_fill(same, -1e4)
        loss = loss + weight * (cross_entropy(logits, gold) + recipe.distil * _divergence(logits, wanted))
    logits = (projected / recipe.temperature).masked_fill(same, -1e4)
    return loss + recipe.faithful * _divergence(logits, unprojected)


def _divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of softmaxed logits from a teacher's rows."""
    from torch.nn.functional import kl_div

    return kl_div(logits.log_softmax(1), teacher, reduction="batchmean")


def maxsim(queries: Tensor, query_mask: Tensor, texts: Tensor, text_mask: Tensor) -> Tensor:
    """Return the mean over query tokens of the best match in each text, shape (queries, texts)."""
    count, length, size = queries.shape
    products = queries.reshape(-1, size) @ texts.reshape(-1, size).T
    products = products.view(count, length, *texts.shape[:2]).masked_fill(~text_mask, -2.0)
    best: Tensor = products.amax(-1) * query_mask[..., None]
    return best.sum(1) / query_mask.sum(1)[:, None]


def _standard(scores: Tensor) -> Tensor:
    spread = scores.std(1, keepdim=True).clamp_min(1e-6)
    return (scores - scores.mean(1, keepdim=True)) / spread


def train(
    material: Material,
    recipe: Recipe,
    start: Mapping[str, Any] | None = None,
    keep: Callable[[Model], None] = lambda model: None,
) -> Model:
    """Return the trained model; its learning rates rise over 20 steps and then fall to 0.

    `start` is an adapter to go on from; without one, training begins with the model as it was published.
    `keep` is called after every KEEP_EVERY steps.
    """
    import torch

    from ragqa.train.low_rank import Model

    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = Model(recipe.rank, recipe.dimensions)
    teacher = Teacher(model, material.pairs, recipe.tokens)
    if start is None:
        model.start_projection([pair.text for pair in material.pairs], recipe.tokens, rng)
    else:
        model.start_from(start)
    rates = (recipe.rate, recipe.projection_rate)
    groups = [{"params": model.factors()}, {"params": [model.projection]}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.rate, weight_decay=0.01)
    streams = {kind: material.batches(kind, recipe.pairs, rng) for kind in KINDS}
    begun, losses = time.monotonic(), []
    for step in range(recipe.steps):
        done = max(step / recipe.steps, (time.monotonic() - begun) / (60 * recipe.minutes))
        if done >= 1:
            break
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - done)
        batch = next(streams[rng.choice(list(KINDS), p=list(KINDS.values()))])
        drawn = [material.negatives[place] for place in rng.permutation(batch)[: recipe.negatives]]
        others = [int(rng.choice(some)) for some in drawn if some]
        optimiser.zero_grad()
        loss = loss_of(model, material, teacher, batch, others, recipe)
        model.backward(loss)
        torch.nn.utils.clip_grad_norm_([*model.factors(), model.projection], 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 10 == 0:
            typer.echo(f"{step + 1} steps, {time.monotonic() - begun:.0f} s, {np.mean(losses[-10:]):.3f}")
        if (step + 1) % KEEP_EVERY == 0:
            keep(model)
    return model


def held_out_ndcg(model: Model, material: Material, tokens: int) -> dict[str, tuple[float, float]]:
    """Return nDCG@10 by MaxSim and by means on held-out pairs, by kind, among a few hundred texts."""
    import torch

    figures = {}
    rng = np.random.default_rng(3)
    for kind in KINDS:
        of_kind = material.kinds == kind
        places = rng.permutation(np.flatnonzero(of_kind & material.held_out))[:LOOKED_AT]
        beside = rng.permutation(np.flatnonzero(of_kind & ~material.held_out))[:BESIDE]
        pairs = [material.pairs[place] for place in places]
        texts = list(dict.fromkeys(material.pairs[place].text for place in [*places, *beside]))
        gold = torch.tensor([texts.index(pair.text) for pair in pairs])
        with torch.no_grad():
            asked = model.encode([pair.query for pair in pairs], QUERY_TOKENS, False)
            parts = [model.encode(texts[at : at + 50], tokens, True) for at in range(0, len(texts), 50)]
            scores = [maxsim(asked.tokens, asked.counts, part.tokens, part.counts) for part in parts]
            cosines = [asked.means @ part.means.T for part in parts]
        figures[kind] = (_ndcg(torch.cat(scores, 1), gold), _ndcg(torch.cat(cosines, 1), gold))
    return figures


def _ndcg(scores: Tensor, gold: Tensor) -> float:
    ranks = (scores > scores.gather(1, gold[:, None])).sum(1)
    return float(((ranks < 10) / (ranks + 2.0).log2()).mean())


def save_adapter(tensors: dict[str, Any], path: Path) -> bytes:
    """Write an adapter and return the file's bytes."""
    from safetensors.numpy import save

    file = save(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
    return file


def write_adapter(tensors: dict[str, Any], path: Path) -> None:
    """Write an adapter, and say which constants of `ragqa.embedded` are its own."""
    file = save_adapter(tensors, path)
    merged = embedded.merge(embedded.verified_folder() / "model.safetensors", tensors)
    typer.echo(f'ADAPTER_SHA256 = "{hashlib.sha256(file).hexdigest()}"')
    typer.echo(f'MERGED_SHA256 = "{hashlib.sha256(merged).hexdigest()}"')


def main(
    data: Annotated[Path, typer.Argument(help="The folder with the collections.")],
    out: Annotated[Path, typer.Option(help="The adapter's file.")] = Path("adapter.safetensors"),
    start: Annotated[Path | None, typer.Option(help="An adapter to go on from.")] = None,
    steps: Annotated[int, typer.Option(help="Batches at most.")] = Recipe().steps,
    minutes: Annotated[float, typer.Option(help="Minutes of training at most.")] = Recipe().minutes,
    rate: Annotated[float, typer.Option(help="The highest learning rate of the factors.")] = Recipe().rate,
    seed: Annotated[int, typer.Option(help="Another one draws other pairs and batches.")] = Recipe().seed,
) -> None:
    """Train the adapter of the embedded model and write it."""
    from safetensors.numpy import load_file

    recipe = Recipe(steps=steps, minutes=minutes, rate=rate, seed=seed)
    pairs = make_pairs(data, np.random.default_rng(seed))
    material = Material(pairs)
    typer.echo(f"{len(pairs):,} pairs, {int(material.held_out.sum()):,} of them held out")

    def keep(model: Model) -> None:
        save_adapter(model.adapter(), out)

    model = train(material, recipe, None if start is None else load_file(start), keep)
    write_adapter(model.adapter(), out)
    for kind, figures in held_out_ndcg(model, material, recipe.tokens).items():
        typer.echo(f"held out, {kind}: nDCG@10 {figures[0]:.3f} MaxSim, {figures[1]:.3f} means")


if __name__ == "__main__":
    typer.run(main)
