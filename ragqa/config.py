"""What a YAML config may say, as pydantic models, and where configs are found.

`-c NAME` is looked for in this order: a path to a YAML file (it ends in .yaml or .yml, or has a
slash in it), then a config shipped with ragqa. Unknown keys are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragqa.errors import UsageError, unknown_name
from ragqa.files import shipped

MAX_CONFIG_BYTES = 100_000


class Strict(BaseModel):
    """Base of every section: unknown keys are errors and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChunkSettings(Strict):
    """How documents are cut: at most `tokens` tokens of the embedded encoder, `overlap` of them shared."""

    tokens: int = Field(default=200, ge=16, le=480)
    overlap: int = Field(default=0, ge=0, le=240)


class ContextSettings(Strict):
    """What the model gets to read.

    `tokens` is the budget of the context ("auto": what suits the model's window); `select:
    sentences` keeps only the sentences of each passage that match the question best, `auto` does
    that for models with a small window.
    """

    tokens: int | Literal["auto"] = "auto"
    passages: int = Field(default=10, ge=1)
    select: Literal["auto", "passages", "sentences"] = "auto"


class StageSettings(BaseModel):
    """A stage as the config names it: `type` chooses the class, which checks the other keys itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Config(Strict):
    """One strategy: which stages find the passages, what becomes of them, who answers.

    `refuse` is how answerable, from 0 to 1, a question must look for a model to be asked (off, or auto: as
    fitted, see `ragqa.answer.answerable`); `check` says whether the sentences of answers are checked.
    """

    name: str = ""
    description: str = ""
    device: str = "auto"
    dtype: str = "auto"
    chunk: ChunkSettings = ChunkSettings()
    retrieve: StageSettings
    candidates: int = Field(default=100, ge=1)
    rerank: StageSettings = StageSettings(type="none")
    k: int = Field(default=10, ge=1)
    context: ContextSettings = ContextSettings()
    prompt: str = "auto"
    refuse: Literal[False, "auto"] | Annotated[float, Field(ge=0, le=1, strict=True)] = False
    check: bool = True
    model: str = "auto"
    options: dict[str, Any] = {}


def shipped_configs() -> dict[str, Path]:
    """Return the configs that come with ragqa, by name."""
    return {path.stem: path for path in sorted(shipped("configs").glob("*.yaml"))}


def load_config(name: str) -> Config:
    """Return the config called `name`, a shipped name or a path to a YAML file.

    Raises UsageError with the known names, or with the file and key that are wrong.
    """
    path = _find(name)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"The config {name} cannot be read: {error.strerror or error}.") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise UsageError(f"The config {name} is larger than {MAX_CONFIG_BYTES:,} bytes.")
    try:
        data = yaml.safe_load(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"The config {name} is not valid YAML: {reason}") from error
    if not isinstance(data, dict):
        raise UsageError(f"The config {name} must be a mapping such as 'retrieve: {{type: fts}}'.")
    return parse_config(data, name if path.stem == name else path.stem)


def parse_config(data: dict[str, Any], name: str) -> Config:
    """Return the config that `data` describes; `name` is used where it names itself nothing."""
    try:
        return Config(**{"name": name, **data})
    except (ValidationError, TypeError) as error:
        raise UsageError(f"The config {name} is wrong: {explain(error, Config)}") from error


def dump_config(config: Config) -> str:
    """Return what decides a config's results, as YAML that reads back: all but its name and description."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude={"name", "description"}), sort_keys=True)


def explain(error: ValidationError | TypeError, model: type[BaseModel]) -> str:
    """Return the first problem of `error` as one sentence that names the key."""
    if not isinstance(error, ValidationError):
        return f"its keys must be words ({error})."
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(model, problem["loc"]))
        return f"unknown key {key!r}. Known here: {known}."
    return f"{key or 'it'}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        annotation = model.model_fields[str(part)].annotation
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return sorted(model.model_fields)


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"There is no config file {name}.")
        return path
    known = shipped_configs()
    if name not in known:
        raise unknown_name("config", name, known)
    return known[name]
