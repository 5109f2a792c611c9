"""The encoder against plain transformers, and against what the machine can multiply."""

from __future__ import annotations

from collections.abc import Iterator

from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS, count_tokens
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.encoders.unpacked import checkpoint_folder
from tests.workshop.bench.late_interaction import all_passages, opened
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, matmul_flops, paired

PASSAGES = 384
BATCH = 32
PAIRS = 3
# Weights of a layer, in squares of its width: query, key, value, output, and the two of four times the width.
SQUARES = 12


def encoder(material: Material) -> Iterator[Row]:
    """Passages of til as they come, by both sides; tokens are counted without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with opened("fts", material.til) as pipeline:
        passages = all_passages(pipeline.corpus)
        step = max(len(passages) // PASSAGES, 1)
        texts = [indexed_text(passage)[0] for passage in passages[::step][:PASSAGES]]
    ours = load_encoder(EncoderSettings(), Compute())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_folder(COLBERT_SMALL))
    model = AutoModel.from_pretrained(checkpoint_folder(COLBERT_SMALL), dtype=torch.float32).eval()

    def theirs(number: int) -> None:
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                texts[start : start + BATCH],
                padding=True,
                truncation=True,
                max_length=512,
                return_tensors="pt",
            )
            with torch.inference_mode():
                model(**batch)

    times = paired(lambda number: ours.encode_documents(texts), theirs, PAIRS)
    lengths = [min(count_tokens(text) + 3, MAX_TOKENS) for text in texts]
    rate = sum(lengths) / times.ours_s
    yield Row(
        work="encode passages, tokens",
        ours=rate,
        unit="/s",
        peer="plain transformers, float32, padded batches of 32",
        theirs=sum(lengths) / times.theirs_s,
        ratio=times.ratio,
        reach="2 times",
        reached=times.ratio >= 2,
    )
    achieved = encoder_flops(lengths) / times.ours_s
    possible = matmul_flops()
    yield Row(
        work="its multiplications, GFLOP",
        ours=achieved / 1e9,
        unit="/s",
        peer="numpy, two matrices of 2048 x 2048, float32",
        theirs=possible / 1e9,
        ratio=achieved / possible,
        note="a share of what the machine multiplies",
    )


def encoder_flops(lengths: list[int]) -> int:
    """Return the multiplications and additions of encoding texts of so many tokens.

    Every weight is used once per token; every token meets every other twice, in scores and in sums.
    """
    width = COLBERT_SMALL.hidden
    weights = SQUARES * width * width
    return sum(
        COLBERT_SMALL.layers * (2 * weights * length + 4 * width * length * length) for length in lengths
    )
