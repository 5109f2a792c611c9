"""Small checkpoints with random weights, written to disk in each format that ColBERT models come in."""

from __future__ import annotations

import itertools
import json
import string
from pathlib import Path
from typing import Any

TEXTS = [
    "green tea is steeped at 70 degrees!",
    "a flat tyre is mended with a patch, and rubber cement.",
    "grind the beans medium for a paper filter",
    "water the roots in the morning; never the leaves",
]
QUESTIONS = ["how warm is green tea?", "what mends a flat tyre", "paper filter beans"]
HIDDEN, DIMENSIONS, LAYERS = 48, 16, 2


def backbone(folder: Path, markers: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Return a small BERT with random weights and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({word.strip(string.punctuation) for text in TEXTS + QUESTIONS for word in text.split()})
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.digits]
    entries = dict.fromkeys([*special, *string.punctuation, *words, *letters])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(entries))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.add_tokens(list(markers), special_tokens=True)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    return BertModel(config).eval(), tokenizer


def projection() -> Any:
    import torch

    torch.manual_seed(8)
    return torch.randn(DIMENSIONS, HIDDEN) / HIDDEN**0.5


def stanford(folder: Path) -> Path:
    """As colbert-ai saves it: everything in one file, `artifact.metadata` beside it."""
    from safetensors.torch import save_file

    model, tokenizer = backbone(folder)
    model.config.architectures = ["HF_ColBERT"]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    state = {f"bert.{name}": value.contiguous() for name, value in model.state_dict().items()}
    save_file({**state, "linear.weight": projection()}, folder / "model.safetensors", {"format": "pt"})
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "dim": DIMENSIONS,
        "query_maxlen": 24,
        "doc_maxlen": 40,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "similarity": "cosine",
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


def pylate(folder: Path) -> Path:
    """As PyLate saves it: sentence-transformers modules with a Dense of its own."""
    from safetensors.torch import save_file

    model, tokenizer = backbone(folder, ("[Q] ", "[D] "))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    dense = folder / "1_Dense"
    dense.mkdir()
    settings = {
        "in_features": HIDDEN,
        "out_features": DIMENSIONS,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (dense / "config.json").write_text(json.dumps(settings))
    save_file({"linear.weight": projection()}, dense / "model.safetensors", {"format": "pt"})
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 40, "do_lower_case": False})
    )
    config = {
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 24,
        "document_length": 40,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "prompts": {},
        "similarity_fn_name": "MaxSim",
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder


def native(folder: Path) -> Path:
    """As sentence-transformers saves its own: prompts instead of markers, no expansion."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity

    model, tokenizer = backbone(folder / "backbone")
    model.save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    dense = Dense(
        HIDDEN,
        DIMENSIONS,
        bias=False,
        activation_function=Identity(),
        init_weight=projection(),
        module_input_name="token_embeddings",
    )
    modules = [
        Transformer(str(folder / "backbone"), max_seq_length=40),
        dense,
        MultiVectorMask(skiplist_words=[".", ","]),
        Normalize(module_input_name="token_embeddings"),
    ]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "saved"))
    return folder / "saved"


def least(folder: Path) -> Path:
    """As `native`, with questions that are filled up to a least length, and may be longer than that."""
    saved = native(folder)
    path = saved / "sentence_bert_config.json"
    settings = json.loads(path.read_text())
    filled = {"strategy": "min", "attend": True, "token": None, "length": 8}
    path.write_text(json.dumps({**settings, "query_expansion": filled, "query_length": 30}))
    return saved


def edge(folder: Path) -> Path:
    """As `pylate`, with three projections, the second with a residual, and no space in the markers."""
    import torch
    from safetensors.torch import save_file

    pylate(folder)
    torch.manual_seed(9)
    sizes = [HIDDEN, 2 * HIDDEN, HIDDEN, DIMENSIONS]
    modules = json.loads((folder / "modules.json").read_text())[:1]
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes), 1):
        dense = folder / f"{number}_Dense"
        dense.mkdir(exist_ok=True)
        settings = {
            "in_features": wide,
            "out_features": narrow,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
            "use_residual": number == 2,
        }
        (dense / "config.json").write_text(json.dumps(settings))
        weights = {"linear.weight": torch.randn(narrow, wide) / wide**0.5}
        if number == 2:
            weights["residual.weight"] = torch.randn(narrow, wide) / wide**0.5
        save_file(weights, dense / "model.safetensors", {"format": "pt"})
        kind = "pylate.models.Dense.Dense"
        modules.append({"idx": number, "name": str(number), "path": f"{number}_Dense", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    path = folder / "config_sentence_transformers.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "query_prefix": "[Q]", "document_prefix": "[D]"}))
    return folder


FORMATS = {"stanford": stanford, "pylate": pylate, "native": native, "least": least, "edge": edge}
