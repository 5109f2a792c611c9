"""ms-marco-MiniLM-L-12-v2: reads a question and a passage together, and says how well they go together."""

from ragqa.encoders.embedded.description import EmbeddedModel

CROSS_ENCODER = EmbeddedModel(
    name="ms-marco-MiniLM-L-12-v2",
    file="ms-marco-MiniLM-L-12-v2.onnx",
    weights="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
    licence="Apache-2.0",
    layers=12,
    pairs=True,
    evidence="02741b30bd2cba0469a4f186fa45db059d1ea8902bfb60c2b78037f71477e805",
    states=tuple(f"/bert/encoder/layer.{layer}/output/LayerNorm/Add_1_output_0" for layer in (7, 11)),
)
