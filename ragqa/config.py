"""What a YAML config may say, as pydantic models, and where configs are found.

`-c NAME` is looked for in this order: a path to a YAML file (it ends in .yaml or .yml, or has a
slash in it), then a config shipped with ragqa. Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ragqa.errors import UsageError, unknown_name
from ragqa.files import shipped
from ragqa.safety.plain_yaml import MAX_CHARACTERS, PlainYamlError, read_yaml
from ragqa.where import parse_where

_Section = TypeVar("_Section", bound=BaseModel)

MAX_CONFIG_BYTES = MAX_CHARACTERS
# More of anything is a slip of the pen; SQLite and numpy hold no number of any length.
MAX_COUNT = 10_000_000
# The longest question and document, in characters. A file, a line of records and a cell of more bytes than
# a document may have characters is skipped and named, and not read to its end.
MAX_QUESTION = 10_000
MAX_DOCUMENT = 10_000_000


class Strict(BaseModel):
    """Base of every section: unknown keys are errors and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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

    tokens: Annotated[int, Field(le=MAX_COUNT)] | Literal["auto"] = "auto"
    passages: int = Field(default=10, ge=1, le=MAX_COUNT)
    select: Literal["auto", "passages", "sentences"] = "auto"


class TimeoutSettings(Strict):
    """How long a model may take, in seconds.

    `silence_s` is until its first piece and between two of them, `total_s` in all.
    """

    silence_s: float = Field(default=300, gt=0, le=86_400)
    total_s: float = Field(default=1800, gt=0, le=86_400)


class LimitSettings(Strict):
    """How long a question and a document may be, in characters; what is longer is refused.

    The largest values allowed are those that ragqa was tried with.
    """

    question: int = Field(default=MAX_QUESTION, ge=1, le=MAX_QUESTION)
    document: int = Field(default=MAX_DOCUMENT, ge=1, le=MAX_DOCUMENT)


class StageSettings(BaseModel):
    """A stage as the config names it: `type` chooses the class, which checks the other keys itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


Refuse = Literal["auto", "strict", "never", False] | Annotated[float, Field(ge=0, le=1, strict=True)]


class Config(Strict):
    """One strategy: which stages find the passages, what becomes of them, who answers.

    `where` is a condition that a document's metadata must meet for its passages to be found at all.
    `refuse` is how answerable, from 0 to 1, a question must look for a model to be asked: auto and strict as
    fitted (see `ragqa.answer.answerable`), never or false: any is asked. `check` says whether the sentences
    of answers are checked.
    """

    name: str = ""
    description: str = ""
    device: str = "auto"
    dtype: str = "auto"
    chunk: ChunkSettings = ChunkSettings()
    where: str = ""
    retrieve: StageSettings
    candidates: int = Field(default=100, ge=1, le=MAX_COUNT)
    rerank: StageSettings = StageSettings(type="none")
    k: int = Field(default=10, ge=1, le=MAX_COUNT)
    context: ContextSettings = ContextSettings()
    prompt: str = "auto"
    refuse: Refuse = "auto"
    check: bool = True
    model: str = "auto"
    options: dict[str, Any] = {}
    timeout: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()

    @field_validator("where")
    @classmethod
    def _readable(cls, where: str) -> str:
        try:
            if where:
                parse_where(where)
        except UsageError as error:
            raise ValueError(str(error).rstrip(".")) from error
        return where


def shipped_configs() -> dict[str, Path]:
    """Return the configs that come with ragqa, by name."""
    return {path.stem: path for path in sorted(shipped("configs").glob("*.yaml"))}


def load_config(name: str) -> Config:
    """Return the config called `name`, a shipped name or a path to a YAML file.

    Raises UsageError with the known names, or with the file and key that are wrong.
    """
    path = _find(name)
    try:
        data = read_yaml(read_yaml_file(path))
    except OSError as error:
        raise UsageError(f"The config {name} cannot be read: {error.strerror or error}.") from error
    except (PlainYamlError, UnicodeDecodeError) as error:
        raise UsageError(f"The config {name} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"The config {name} must be a mapping such as 'retrieve: {{type: fts}}'.")
    return parse_config(data, name if path.stem == name else path.stem)


def read_yaml_file(path: Path) -> str:
    """Return the text of a YAML file; raises OSError, UnicodeDecodeError and PlainYamlError.

    What is no regular file is not opened, since a pipe or a device may never end.
    """
    if not path.is_file():
        raise OSError(f"{path} is no file" if not path.exists() else f"{path} is no regular file")
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        raise PlainYamlError(f"it is larger than {MAX_CONFIG_BYTES:,} bytes.")
    return raw.decode("utf-8")


def parse_config(data: dict[str, Any], name: str) -> Config:
    """Return the config that `data` describes; `name` is used where it names itself nothing."""
    try:
        return Config(**{"name": name, **data})
    except (ValidationError, TypeError) as error:
        raise UsageError(f"The config {name} is wrong: {explain(error, Config)}") from error


def config_file(config: Config, comments: Iterable[str]) -> str:
    """Return a config as a YAML file that says what is not the default, with comments on top."""
    data = config.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {' '.join(comment.split())}\n" for comment in comments) + text


def dump_config(config: Config) -> str:
    """Return what decides a config's results, as YAML that reads back: no name, no description, no limits."""
    kept = config.model_dump(mode="json", exclude={"name", "description", "timeout", "limits"})
    return yaml.safe_dump(kept, sort_keys=True)


def pick(settings: BaseModel, part: type[_Section]) -> _Section:
    """Return the keys of `settings` that belong to `part`, a model that its class extends."""
    return part(**{name: getattr(settings, name) for name in part.model_fields})


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
        try:
            path = Path(name).expanduser()
            found = path.is_file()
        except (OSError, RuntimeError) as error:
            reason = str(error).rstrip(".")
            raise UsageError(f"The config {name} cannot be read: {reason}.") from error
        if not found:
            raise UsageError(f"There is no config file {name}.")
        return path
    known = shipped_configs()
    if name not in known:
        raise unknown_name("config", name, known)
    return known[name]
