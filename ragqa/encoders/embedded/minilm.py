"""all-MiniLM-L6-v2: a text's vector and its token vectors from one pass through six layers; the fastest.

It was trained for the mean of its states alone. That they work for late interaction is a gift.
"""

from ragqa.encoders.embedded.description import EmbeddedModel, Fitted

MINILM = EmbeddedModel(
    name="all-MiniLM-L6-v2",
    file="all-MiniLM-L6-v2/model.safetensors",
    weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
    layers=6,
    tokens=384,
    pooling="mean",
    fitted=Fitted(
        answerability=(-8.86, 12.39, 12.36),
        refuse_below=0.08,
        refuse_strictly_below=0.3,
        typical_lead=0.15,
        first_word=2000,
        support=(4.45, 1.82, -3.32, -3.74),
        support_intercept=-2.89,
        unrelated=0.3,
        same=0.9,
    ),
)
