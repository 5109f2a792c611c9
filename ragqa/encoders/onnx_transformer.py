"""The embedded models' layers, run by onnxruntime: from word pieces to states, or to a pair's score."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragqa.encoders.device import cores, onnx_session
from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.embedded.files import verified_bytes, verified_weights
from ragqa.encoders.onnx_graph import HIDDEN, IDS, LENGTHS, POSITIONS, also_giving, cached_graph
from ragqa.encoders.tokens import Vectors

# Tokens in a batch, padding included: few enough that what is between two layers stays in the cache.
BATCH_TOKENS = 1024
# Texts that one core is given at a time, of many.
AT_ONCE = 8

Ids = list[int]
# Word pieces of a question and of a passage, specials included.
Pair = tuple[Ids, Ids]

_Result = TypeVar("_Result")


class Transformer(Protocol):
    """A model's layers; several threads may use them at once."""

    def states(self, texts: Sequence[Ids]) -> list[Vectors]:
        """Return the hidden states of each text, shape (tokens, hidden)."""


# What is loaded, or on the way.
_loading: dict[EmbeddedModel, Future[Transformer]] = {}
_turn = threading.Lock()


def load_transformer(model: EmbeddedModel) -> Transformer:
    """Return a model's layers, loaded once per process; raises RagqaError where its file is another."""
    return load_ahead(model).result()


def load_ahead(model: EmbeddedModel) -> Future[Transformer]:
    """Begin to load a model's layers where nobody has: several models load side by side."""
    with _turn:
        found = _loading.get(model)
        if found is None:
            found = _loading[model] = Future()
            threading.Thread(target=_load, args=(model, found), name=f"load {model.name}").start()
    return found


def _load(model: EmbeddedModel, into: Future[Transformer]) -> None:
    try:
        into.set_result(PackedTransformer(model) if model.packed else FloatTransformer(model))
    except BaseException as error:  # It is raised where the layers are asked for.
        with _turn:
            del _loading[model]
        into.set_exception(error)


class FloatTransformer:
    """Layers of floating point numbers, texts of like length in a batch."""

    def __init__(self, model: EmbeddedModel) -> None:
        # One thread: a question is too short to share, and documents have a thread for each batch.
        weights = verified_weights(model)
        self._session = onnx_session(cached_graph(weights, model), weights=weights.parent)

    def states(self, texts: Sequence[Ids]) -> list[Vectors]:
        found: list[Vectors] = [np.zeros((0, 0), np.float32)] * len(texts)

        def run(batch: Sequence[int]) -> None:
            for number, states in zip(batch, self._run([texts[n] for n in batch]), strict=True):
                found[number] = states

        on_each_core(run, batches_by_length([len(ids) for ids in texts], BATCH_TOKENS))
        return found

    def _run(self, batch: Sequence[Ids]) -> list[Vectors]:
        lengths = [len(ids) for ids in batch]
        padded = np.zeros((len(batch), max(lengths)), np.int64)
        for row, ids in zip(padded, batch, strict=True):
            row[: len(ids)] = ids
        inputs = {
            IDS: padded,
            POSITIONS: np.arange(padded.shape[1]),
            LENGTHS: np.array(lengths, np.int32),
        }
        (hidden,) = self._session.run([HIDDEN], inputs)
        return [hidden[row, :length] for row, length in enumerate(lengths)]


class PackedTransformer:
    """Layers of 8-bit integers, one text at a time.

    What goes into a product is rounded to 8 bits as well, by the largest number in all of it: beside another
    text, or padding, the same text would get other states. Alone it always gets the same ones, and nothing is
    padded; on 2 cores that is as fast as batches are, but for texts of a few words.
    """

    def __init__(self, model: EmbeddedModel) -> None:
        self._session = onnx_session(also_giving(verified_bytes(model), model.states))
        self._output = self._session.get_outputs()[0].name
        self._states = list(model.states)

    def states(self, texts: Sequence[Ids]) -> list[Vectors]:
        return self._each(lambda ids: self._run(ids, 0, [self._output])[0], texts)

    def scores(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the score of each pair."""
        return self._each(
            lambda pair: float(self._run([*pair[0], *pair[1]], len(pair[0]), [self._output])[0].item()), pairs
        )

    def readings(self, pairs: Sequence[Pair]) -> list[tuple[float, Vectors]]:
        """Return the score of each pair, and the states of the passage's tokens that the model names.

        They stand one after the other: shape (tokens, states * hidden).
        """

        def read(pair: Pair) -> tuple[float, Vectors]:
            question, passage = pair
            score, *states = self._run([*question, *passage], len(question), [self._output, *self._states])
            return float(score.item()), np.concatenate([of[len(question) :] for of in states], axis=1)

        return self._each(read, pairs)

    def _each(self, run: Callable[[Any], _Result], items: Sequence[Any]) -> list[_Result]:
        if len(items) == 1:
            return [run(items[0])]
        order = sorted(range(len(items)), key=lambda place: -len(items[place]))
        found: list[Any] = [None] * len(items)

        def some(places: Sequence[int]) -> None:
            for place in places:
                found[place] = run(items[place])

        # Of a few, such as the passages of one question, each core gets its part.
        size = max(min(AT_ONCE, len(order) // (2 * cores())), 1)
        on_each_core(some, (order[start : start + size] for start in range(0, len(order), size)))
        return found

    def _run(self, ids: Ids, second: int, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return outputs of the model for one text, whose tokens from `second` on are of a second one."""
        row = np.array([ids], np.int64)
        kinds = np.zeros_like(row)
        if second:
            kinds[0, second:] = 1
        inputs = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": kinds}
        return [found[0] for found in self._session.run(outputs, inputs)]


def on_each_core(work: Callable[[Any], None], parts: Iterable[Any]) -> None:
    """Do `work` on all of `parts`, a thread per core: no core waits for another within a layer."""
    with ThreadPoolExecutor(cores()) as threads:
        for _ in threads.map(work, parts):
            pass


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterable[list[int]]:
    """Yield the places of `lengths`, longest first, in batches of at most `tokens` once padded."""
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        if not batch:
            longest = lengths[place]
        batch.append(place)
    if batch:
        yield batch
