"""answerai-colbert-small-v1: twelve layers trained for late interaction, with a projection of ours.

The file that comes along ends with the hidden states. The layer behind them, from 384 numbers to 96, was
learned anew, so that its token vectors rank as the states do (tests/workshop/projection.py).
"""

from ragqa.encoders.embedded.description import EmbeddedModel, Fitted
from ragqa.encoders.embedded.vocabulary import UNUSED_0, UNUSED_1

COLBERT_SMALL = EmbeddedModel(
    name="answerai-colbert-small-v1",
    file="answerai-colbert-small-v1.onnx",
    weights="4980983628c18e4f0a4c756114abd2d7c097c6ccad9cffc70e77302d21e05df0",
    licence="Apache-2.0",
    layers=12,
    tokens=96,
    projection="ba2d57be0acf1647babaf02d7a0dd9194394d8b35fc909bf0af62c167bf875af",
    markers=(UNUSED_0, UNUSED_1),
    fitted=Fitted(
        answerability=(-24.75, 28.17, 38.66),
        refuse_below=0.1,
        refuse_strictly_below=0.26,
        typical_lead=0.06,
        first_word=2000,
        support=(5.46, 1.3, -3.36, -3.69),
        support_intercept=-3.28,
        unrelated=0.7,
        same=0.96,
        spread=1.6,
    ),
)
