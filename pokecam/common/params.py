"""The strict reader of params.yaml.

Every module that has parameters keeps its own subclass of `Settings` beside the code that uses
them; a stage reads just those keys::

    class SplitSettings(Settings):
        val_fraction: Annotated[float, Field(gt=0, lt=1)]
        split_seed: Annotated[int, Field(ge=0)]

    settings = read(SplitSettings)

A key that no stage in dvc.yaml asks for is refused, so a misspelt one cannot pass unnoticed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function
from ruamel.yaml import YAML, YAMLError

from pokecam.common.errors import InputError, did_you_mean, unknown_name


class Settings(BaseModel):
    """Parameters of one module: immutable, no conversion between types (an int is a float),
    numbers finite."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class one_of:  # noqa: N801 (it is used as a function)
    """Annotation for a text parameter whose value must be one of `allowed`."""

    allowed: Collection[str]

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(kind))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.allowed)}

    def _check(self, value: str) -> str:
        if value not in self.allowed:
            raise ValueError(unknown_name(value, self.allowed))
        return value


def read_params(
    settings: type[S], path: Path = Path("params.yaml"), pipeline: Path = Path("dvc.yaml")
) -> S:
    """Return the parameters of one module, checked for name, type and range.

    Raises `InputError`, one line that names the key, the value and what is allowed, for a value
    that does not fit and for a missing key; otherwise as `read_all_params`.
    """
    try:
        return settings.model_validate(read_all_params(path, pipeline))
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, settings)}") from None


def read_all_params(
    path: Path = Path("params.yaml"), pipeline: Path = Path("dvc.yaml")
) -> dict[str, Any]:
    """Return every parameter in `path` as plain YAML values.

    Raises `InputError` if the file is missing, is no flat mapping, repeats a key, or has one that
    no stage of `pipeline` asks for; without a pipeline, any key is taken.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: run this from the top folder of the project"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from None
    try:
        values = load_yaml(text)
    except InputError as error:
        raise InputError(f"{path} is {error}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{path} must be a list of lines `name: value`")
    if pipeline.exists():
        known = _declared_keys(pipeline)
        for key in values.keys() - known:
            raise InputError(
                f"{path}: {key} is not a parameter.{did_you_mean(key, known)} "
                f"Known: {', '.join(sorted(known))}"
            )
    return values


def _declared_keys(pipeline: Path) -> set[str]:
    """Names of all parameters that the stages in dvc.yaml declare."""
    stages = load_yaml(pipeline.read_text(encoding="utf-8"))["stages"].values()
    return {key for stage in stages for key in stage.get("params", []) if isinstance(key, str)}


def _explain(error: ValidationError, settings: type[Settings]) -> str:
    """The first fault in one line: key, value, what was expected."""
    fault = error.errors(include_url=False)[0]
    # After the key come list positions and, in a union, pydantic's own names of the branches.
    key, *steps = fault["loc"]
    where = str(key) + "".join(f"[{step}]" for step in steps if isinstance(step, int))
    if fault["type"] == "missing":
        return f"{where} is missing: add a line `{where}: …` (git show HEAD:params.yaml has one)"
    value = fault["input"]
    if fault["type"] == "value_error":
        return f"{where}: {value!r} {fault['ctx']['error']}"
    hint = ""
    if fault["type"] == "string_type" and isinstance(value, bool | int | float | date | None):
        hint = (
            " (true, false, null, dates and numbers are values in YAML: put quotes around a name)"
        )
    expected = fault["msg"].removeprefix("Input should be ")
    in_list = any(isinstance(step, int) for step in steps)
    if not in_list and type(None) in get_args(settings.model_fields[str(key)].annotation):
        expected += " or null"
    return f"{where}: {value!r} was given, {expected} is needed{hint}"


def load_yaml(text: str) -> Any:
    """Return what a YAML 1.2 text says, with the library and the settings that DVC uses.

    In YAML 1.1, that of PyYAML, `No` and `off` are false, `1e-3` is a text and `12:30` the number
    750; DVC writes a class called No without quotes.

    Raises:
        InputError: the text is not valid YAML, or a mapping has a key twice.
    """
    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise InputError(f"not valid YAML: {_explain_yaml(error)}") from None


def _explain_yaml(error: YAMLError) -> str:
    """Return the problem and its line, without the advice to programmers that may follow."""
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    mark = getattr(error, "problem_mark", None)
    return f"{problem}, line {mark.line + 1}" if mark is not None else problem
