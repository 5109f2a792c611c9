"""The recipe of the embedded model's adapter: `python -m tests.workshop.adapter.recipe ../shared/data`.

The model as it was published is the teacher, and what is learned is to say the same in a few bytes: every
text is pooled and quantised as it will be stored before it is compared. A loop of its own and no Trainer,
because that happens between a forward pass and its loss, and because on few cores that others use too,
parts of a batch on a thread each wait less for one another than threads within every operation.
docs/adapter.md says what each run was worth.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from ragqa.encoders.embedded import minilm
from ragqa.index.pooling import cluster
from ragqa.index.quantise import Codec, decode, encode
from tests.workshop.adapter.pairs import KINDS, Material, Pair, make_pairs, sampled

if TYPE_CHECKING:
    from torch import Tensor

    from tests.workshop.adapter.low_rank import Encoded, Model

QUERY_TOKENS = 48
# Of each kind, for a look at what was held out: queries, and texts that are not their answers.
LOOKED_AT, BESIDE = 100, 200
# Steps after which an adapter is written down that training may be broken off at.
KEEP_EVERY = 100
# What brings the parts of the loss to about the same size.
TOKEN_WEIGHT, PASSAGE_WEIGHT, MEAN_WEIGHT = 100.0, 1000.0, 300.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the adapter, besides the data. `minutes` is when training ends that has not ended yet.

    `codec` and `pool_factor` are how vectors will be stored; `projection_steps` are those of the projection
    alone, before all of it is trained. `contrast` is the weight of InfoNCE with that `temperature`.
    """

    steps: int = 620
    minutes: float = 25
    projection_steps: int = 2400
    first_rate: float = 1e-3
    rate: float = 2e-4
    temperature: float = 0.05
    contrast: float = 0.05
    pairs: int = 32
    rank: int = 16
    dimensions: int = 256
    codec: Codec = "int2"
    pool_factor: float = 3
    tokens: int = 128
    sample: int = 10_000
    seed: int = 1


class Text(NamedTuple):
    """A text as the published model sees it.

    `rows` (tokens, 384) are its normalised token vectors in float16, `mean` (384) its own vector.
    """

    rows: Tensor
    mean: Tensor


class Published:
    """What the model as it was published says of every pair, made once: some 100 KB a pair.

    `clusters` tell which token vectors of a text become one when it is stored.
    """

    def __init__(self, model: Model, pairs: Sequence[Pair], recipe: Recipe) -> None:
        self.queries = list(_seen(model, [pair.query for pair in pairs], QUERY_TOKENS, False))
        self.texts = list(_seen(model, [pair.text for pair in pairs], recipe.tokens, True))
        self.clusters = [cluster(text.rows.float().numpy(), recipe.pool_factor) for text in self.texts]

    def projected(self, projection: Tensor, batch: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the token vectors that a projection makes of the queries and of the texts of a batch."""
        from torch.nn.functional import normalize

        def rows(seen: Sequence[Text]) -> list[Tensor]:
            return [normalize(seen[place].rows.float() @ projection.T, dim=-1) for place in batch]

        return rows(self.queries), rows(self.texts)


def _seen(model: Model, texts: list[str], limit: int, document: bool) -> Iterator[Text]:
    import torch

    with torch.no_grad():
        for start in range(0, len(texts), 64):
            made = model.encode(texts[start : start + 64], limit, document)
            for whole, counts, mean in zip(made.whole, made.counts, made.means, strict=True):
                yield Text(whole[counts].half(), mean)


def stored(rows: Tensor, clusters: Any, recipe: Recipe) -> Tensor:
    """Return a text's token vectors as they will be stored, pooled and quantised: shape (clusters, size).

    Gradients pass through the quantisation as if it were not there (Bengio, Léonard and Courville 2013,
    arXiv:1308.3432).
    """
    import torch
    from torch.nn.functional import normalize

    numbers = torch.from_numpy(clusters.astype(np.int64))
    sums = torch.zeros(int(numbers.max()) + 1, rows.shape[1]).index_add(0, numbers, rows)
    pooled = normalize(sums, dim=-1)
    plain = pooled.detach().numpy()
    kept = decode([encode(plain, recipe.codec)], [len(plain)], plain.shape[1], recipe.codec)
    return pooled + (torch.from_numpy(kept) - pooled).detach()


def best_matches(queries: Sequence[Tensor], texts: Sequence[Tensor]) -> Tensor:
    """Return the best match of each token of all queries in each text, shape (tokens, texts)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    padded = pad_sequence(list(texts), batch_first=True)
    room = torch.arange(padded.shape[1]) >= torch.tensor([len(text) for text in texts])[:, None]
    products = torch.cat(list(queries)) @ padded.reshape(-1, padded.shape[2]).T
    return products.view(-1, *room.shape).masked_fill(room, -2.0).amax(-1)


def loss_of(
    queries: Sequence[Tensor], texts: Sequence[Tensor], published: Published, batch: list[int], recipe: Recipe
) -> Tensor:
    """Return how far token vectors, once stored, are from saying what the published ones say.

    The squared error of each query token's best match in each text, and of mean MaxSim; of both only what
    tells one text of the batch from another. Contrast with the other texts is added, lightly.
    """
    import torch
    from torch.nn.functional import cross_entropy

    count = len(batch)
    said = best_matches(
        queries,
        [stored(rows, published.clusters[place], recipe) for rows, place in zip(texts, batch, strict=True)],
    )
    with torch.no_grad():
        wanted = best_matches(
            [published.queries[place].rows.float() for place in batch],
            [published.texts[place].rows.float() for place in batch],
        )
    lengths = torch.tensor([len(query) for query in queries])
    owners = torch.arange(count).repeat_interleave(lengths)
    shares = (1 / lengths).repeat_interleave(lengths)[:, None]
    scores, right = (
        torch.zeros(count, count).index_add(0, owners, matches * shares) for matches in (said, wanted)
    )
    of_tokens = (_square(said, wanted).mean(1, keepdim=True) * shares).sum() / count
    of_passages = _square(scores, right).mean()
    contrast = cross_entropy(scores / recipe.temperature, torch.arange(count))
    return TOKEN_WEIGHT * of_tokens + PASSAGE_WEIGHT * of_passages + recipe.contrast * contrast


def _square(said: Tensor, wanted: Tensor) -> Tensor:
    """Return squared errors after each row was brought to mean 0: only the order of texts matters."""
    errors = said - wanted
    return (errors - errors.mean(1, keepdim=True)) ** 2


def whole_loss(
    model: Model, pairs: Sequence[Pair], published: Published, batch: list[int], recipe: Recipe
) -> Tensor:
    """Return `loss_of` a forward pass, and the squared error of cosines of the texts' own vectors."""
    import torch

    queries = model.encode([pairs[place].query for place in batch], QUERY_TOKENS, False)
    texts = model.encode([pairs[place].text for place in batch], recipe.tokens, True)
    asked, found = (
        torch.stack([seen[place].mean for place in batch]) for seen in (published.queries, published.texts)
    )
    of_means = _square(queries.means @ texts.means.T, asked @ found.T).mean()
    return loss_of(_rows(queries), _rows(texts), published, batch, recipe) + MEAN_WEIGHT * of_means


def _rows(encoded: Encoded) -> list[Tensor]:
    """Return the token vectors of each text that count."""
    return [tokens[counts] for tokens, counts in zip(encoded.tokens, encoded.counts, strict=True)]


def _mixed(material: Material, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield batches without end, each of one kind, the kinds as often as KINDS says."""
    streams = {kind: material.batches(kind, size, rng) for kind in KINDS}
    shares = np.array(list(KINDS.values())) / sum(KINDS.values())
    while True:
        yield next(streams[rng.choice(list(KINDS), p=shares)])


def train_projection(
    model: Model, published: Published, batches: Iterator[list[int]], recipe: Recipe
) -> None:
    """Train the projection alone, on stored vectors of the published model: seconds for a hundred steps."""
    import torch

    optimiser = torch.optim.Adam([model.projection], lr=recipe.first_rate)
    losses = []
    for step in range(recipe.projection_steps):
        optimiser.param_groups[0]["lr"] = recipe.first_rate * _share(step, step / recipe.projection_steps)
        batch = next(batches)
        loss = loss_of(*published.projected(model.projection, batch), published, batch, recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 200 == 0:
            typer.echo(f"projection, {step + 1} steps: {np.mean(losses[-200:]):.3f}")


def _share(step: int, done: float) -> float:
    """Return the share of the highest rate: it rises over 20 steps and then falls to 0."""
    return min(1, (step + 1) / 20) * (1 - done)


def train(
    material: Material,
    recipe: Recipe,
    start: Mapping[str, Any] | None = None,
    keep: Callable[[Model], None] = lambda model: None,
) -> Model:
    """Return the trained model.

    `start` is an adapter to go on from; without one, training begins with the model as it was published,
    and with its projection. `keep` is called after every KEEP_EVERY steps.
    """
    import torch

    from tests.workshop.adapter.low_rank import Model

    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = Model(recipe.rank, recipe.dimensions)
    published = Published(model, material.pairs, recipe)
    batches = _mixed(material, recipe.pairs, rng)
    if start is None:
        model.start_projection([text.rows for text in published.texts], rng)
        train_projection(model, published, batches, recipe)
    else:
        model.start_from(start)
    learned = [*model.factors(), model.projection]
    optimiser = torch.optim.AdamW(learned, lr=recipe.rate, weight_decay=0.01)
    begun, losses = time.monotonic(), []
    for step in range(recipe.steps):
        done = max(step / recipe.steps, (time.monotonic() - begun) / (60 * recipe.minutes))
        if done >= 1:
            break
        optimiser.param_groups[0]["lr"] = recipe.rate * _share(step, done)
        loss = whole_loss(model, material.pairs, published, next(batches), recipe)
        optimiser.zero_grad()
        model.backward(loss)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 20 == 0:
            typer.echo(f"{step + 1} steps, {time.monotonic() - begun:.0f} s, {np.mean(losses[-20:]):.3f}")
        if (step + 1) % KEEP_EVERY == 0:
            keep(model)
    return model


def held_out_ndcg(model: Model, material: Material, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Return nDCG@10 by MaxSim of stored vectors and by means on held-out pairs, by kind.

    Each query is asked of the kind's held-out texts and of a few that trained.
    """
    import torch

    figures = {}
    rng = np.random.default_rng(3)
    for kind in KINDS:
        of_kind = material.kinds == kind
        places = rng.permutation(np.flatnonzero(of_kind & material.held_out))[:LOOKED_AT]
        if not len(places):
            continue
        beside = rng.permutation(np.flatnonzero(of_kind & ~material.held_out))[:BESIDE]
        pairs = [material.pairs[place] for place in places]
        texts = list(dict.fromkeys(material.pairs[place].text for place in [*places, *beside]))
        gold = torch.tensor([texts.index(pair.text) for pair in pairs])
        with torch.no_grad():
            asked = model.encode([pair.query for pair in pairs], QUERY_TOKENS, False)
            found = model.encode(texts, recipe.tokens, True)
            kept = [stored(rows, cluster(rows.numpy(), recipe.pool_factor), recipe) for rows in _rows(found)]
            scores = torch.stack([best_matches([rows], kept).sum(0) for rows in _rows(asked)])
        figures[kind] = (_ndcg(scores, gold), _ndcg(asked.means @ found.means.T, gold))
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
    """Write an adapter, and say which constants of `ragqa.encoders.embedded.minilm` are its own."""
    file = save_adapter(tensors, path)
    merged = minilm.merge(minilm.verified_folder() / "model.safetensors", tensors)
    typer.echo(f'ADAPTER_SHA256 = "{hashlib.sha256(file).hexdigest()}"')
    typer.echo(f'MERGED_SHA256 = "{hashlib.sha256(merged).hexdigest()}"')


def main(
    data: Annotated[Path, typer.Argument(help="The folder with the collections.")],
    out: Annotated[Path, typer.Option(help="The adapter's file.")] = Path("adapter.safetensors"),
    start: Annotated[Path | None, typer.Option(help="An adapter to go on from.")] = None,
    steps: Annotated[int, typer.Option(help="Batches at most.")] = Recipe().steps,
    minutes: Annotated[float, typer.Option(help="Minutes of training at most.")] = Recipe().minutes,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = Recipe().rate,
    seed: Annotated[int, typer.Option(help="Another one draws other pairs and batches.")] = Recipe().seed,
) -> None:
    """Train the adapter of the embedded model and write it."""
    from safetensors.numpy import load_file

    recipe = Recipe(steps=steps, minutes=minutes, rate=rate, seed=seed)
    rng = np.random.default_rng(seed)
    material = Material(sampled(make_pairs(data, rng), recipe.sample, rng))
    typer.echo(f"{len(material.pairs):,} pairs, {int(material.held_out.sum()):,} of them held out")

    def keep(model: Model) -> None:
        save_adapter(model.adapter(), out)

    model = train(material, recipe, None if start is None else load_file(start), keep)
    write_adapter(model.adapter(), out)
    for kind, figures in held_out_ndcg(model, material, recipe).items():
        typer.echo(f"held out, {kind}: nDCG@10 {figures[0]:.3f} MaxSim, {figures[1]:.3f} means")


if __name__ == "__main__":
    typer.run(main)
