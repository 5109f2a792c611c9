"""bge-small-en-v1.5: a text's vector from the [CLS] of twelve layers; questions get an instruction."""

from ragqa.encoders.embedded.description import EmbeddedModel

BGE_SMALL = EmbeddedModel(
    name="bge-small-en-v1.5",
    file="bge-small-en-v1.5.onnx",
    weights="68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
    licence="MIT",
    layers=12,
    pooling="cls",
    query_prefix="Represent this sentence for searching relevant passages: ",
)
