"""The ragatouille engine: RAGatouille's own models as token encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragqa.encoders.device import Compute
from ragqa.encoders.ragatouille.stanford import Layout, stanford_layout
from ragqa.encoders.ragatouille.taming import ENCODING, ensure_compiled, tamed
from ragqa.encoders.tokens import EncoderSettings, Spans, Vectors, spans_of
from ragqa.errors import RagqaError

BATCH = 32


class RagatouilleEncoder:
    """A TokenEncoder on RAGatouille's `RAGPretrainedModel`; `model` is that object, for its own rerank.

    Raises RagqaError when the checkpoint cannot be loaded or the library cannot run here.
    """

    def __init__(self, settings: EncoderSettings, compute: Compute, revision: str | None = None) -> None:
        self.layout = stanford_layout(settings, revision)
        self.identity = self.layout.identity
        self.model = load_model(self.layout, compute)
        self.checkpoint = self.model.model.inference_ckpt
        self.dimensions = int(self.checkpoint.linear.weight.shape[0])
        if settings.query_tokens:
            tokenizer = self.checkpoint.query_tokenizer
            tokenizer.query_maxlen = tokenizer.limit = settings.query_tokens
        if settings.document_tokens:
            tokenizer = self.checkpoint.doc_tokenizer
            tokenizer.doc_maxlen = tokenizer.limit = settings.document_tokens

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        # One by one: a shorter question in a batch would be padded with vectors of zeros.
        return [_array(self.checkpoint.queryFromText([text], bsize=BATCH, to_cpu=True)[0]) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        if not texts:
            return []
        matrices = self.checkpoint.docFromText(list(texts), bsize=BATCH, keep_dims=False)[0]
        return [_array(matrix) for matrix in matrices]

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return the scores that `RAGPretrainedModel.rerank` gives `texts`, in their order.

        The library sets lengths of its own for it and leaves them set; they are put back.
        """
        questions, documents = self.checkpoint.query_tokenizer, self.checkpoint.doc_tokenizer
        lengths = questions.query_maxlen, documents.doc_maxlen
        try:
            # All of them come back, best first, each with its place among `texts`.
            results = self.model.rerank(query, list(texts), k=len(texts), bsize=BATCH)
        finally:
            questions.query_maxlen, documents.doc_maxlen = lengths
        scores = {result["result_index"]: float(result["score"]) for result in results}
        return [scores[place] for place in range(len(texts))]

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        layout, tokenizer = self.layout, self.checkpoint.query_tokenizer
        own = tokenizer.query_maxlen - 1  # the marker comes in afterwards
        limit = tokenizer.limit if layout.exported else own
        result = []
        for text, matrix in zip(texts, self.encode_queries(texts), strict=True):
            prompt = layout.query_prompt or ""
            encoded = tokenizer.tok(
                prompt + text, truncation=True, max_length=limit, return_offsets_mapping=True
            )
            offsets = list(encoded["offset_mapping"])
            if not layout.exported:
                offsets.insert(1, (0, 0))
            result.append(spans_of(offsets, len(prompt), len(matrix)))
        return result

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        tokenizer = self.checkpoint.doc_tokenizer
        skipped = list(self.checkpoint.skiplist)
        result = []
        for text in texts:
            prompt = self.layout.document_prompt or ""
            encoded = tokenizer.tok(
                prompt + text,
                truncation=True,
                max_length=tokenizer.doc_maxlen - (0 if self.layout.exported else 1),
                return_offsets_mapping=True,
            )
            ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
            if not self.layout.exported:
                ids = [ids[0], tokenizer.D_marker_token_id, *ids[1:]]
                offsets = [offsets[0], (0, 0), *offsets[1:]]
            spans = np.maximum(np.asarray(offsets, np.int32).reshape(-1, 2) - len(prompt), 0)
            result.append(spans[~np.isin(ids, skipped)])
        return result


def load_model(layout: Layout, compute: Compute) -> Any:
    """Return a `RAGPretrainedModel` of this checkpoint on this device."""
    tamed(compute)
    ensure_compiled(ENCODING)
    from ragatouille import RAGPretrainedModel

    try:
        model = RAGPretrainedModel.from_pretrained(layout.path, verbose=0)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RagqaError(f"RAGatouille cannot load the checkpoint {layout.path}: {reason}") from error
    return model


def _array(tensor: Any) -> Vectors:
    array: Vectors = tensor.float().cpu().numpy()
    return array
