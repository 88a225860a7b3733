"""The strict reader of params.yaml.

A module that has parameters defines a subclass of `Settings` beside the code that uses them. A
stage reads the keys of that class only::

    class SplitSettings(Settings):
        val_fraction: Annotated[float, Field(gt=0, lt=1)]
        split_seed: Annotated[int, Field(ge=0)]

    settings = read(SplitSettings)

A key that no stage in dvc.yaml declares is an error, so a misspelt key is always reported.
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
    """The parameters of one module.

    They are immutable. Values are not converted between types, except that an int may stand for a
    float. Numbers are finite.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def no_duplicates(names: list[str]) -> list[str]:
    """Return a list of names, for `AfterValidator`, if none is in it twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"lists {name} {names.count(name)} times: list each name once")
    return names


@dataclass(frozen=True)
class one_of:  # noqa: N801 (it is used like a function)
    """An annotation for a text parameter whose value must be one of `allowed`."""

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

    Args:
        settings: the class that declares the parameters.
        path: the file with the parameters.
        pipeline: the file whose stages declare all keys.

    Raises:
        InputError: a key is missing, or a value has the wrong type or range. The message names the
            key, the value and what is allowed. The errors of `read_all_params` are raised as well.
    """
    try:
        return settings.model_validate(read_all_params(path, pipeline))
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, settings)}") from None


def read_all_params(
    path: Path = Path("params.yaml"), pipeline: Path = Path("dvc.yaml")
) -> dict[str, Any]:
    """Return all parameters in `path` as plain YAML values.

    Args:
        path: the file with the parameters.
        pipeline: the file whose stages declare all keys. If it does not exist, any key is allowed.

    Returns:
        Key → value.

    Raises:
        InputError: the file does not exist, is not a flat mapping, has a key twice, or has a key
            that no stage of `pipeline` declares.
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
        declared = _declared_keys(pipeline)
        for key in values.keys() - declared:
            raise InputError(
                f"{path}: {key} is not a parameter.{did_you_mean(key, declared)} "
                f"Allowed: {', '.join(sorted(declared))}"
            )
    return values


def _declared_keys(pipeline: Path) -> set[str]:
    """Return the names of all parameters that the stages of the pipeline declare."""
    stages = load_yaml(pipeline.read_text(encoding="utf-8"))["stages"].values()
    return {key for stage in stages for key in stage.get("params", []) if isinstance(key, str)}


def _explain(error: ValidationError, settings: type[Settings]) -> str:
    """Describe the first fault in one line: the key, the value and what was expected."""
    fault = error.errors(include_url=False)[0]
    # After the key come list positions and, in a union, the names that pydantic gives to branches.
    key, *steps = fault["loc"]
    location = str(key) + "".join(f"[{step}]" for step in steps if isinstance(step, int))
    if fault["type"] == "missing":
        return (
            f"{location} is missing: add a line `{location}: …` "
            "(`git show HEAD:params.yaml` prints the committed file)"
        )
    value = fault["input"]
    if fault["type"] == "value_error":
        return f"{location}: {value!r} {fault['ctx']['error']}"
    hint = ""
    if fault["type"] == "string_type" and isinstance(value, bool | int | float | date | None):
        hint = (
            " (YAML does not read true, false, null, dates and numbers as text: put quotes around "
            "a name)"
        )
    expected = fault["msg"].removeprefix("Input should be ")
    in_list = any(isinstance(step, int) for step in steps)
    if not in_list and type(None) in get_args(settings.model_fields[str(key)].annotation):
        expected += " or null"
    return f"{location}: {value!r} was given, {expected} is needed{hint}"


def load_yaml(text: str) -> Any:
    """Return the content of a YAML 1.2 text, read by the library and with the settings of DVC.

    PyYAML reads YAML 1.1, in which `No` and `off` are false, `1e-3` is a text and `12:30` is the
    number 750. DVC writes a class called No without quotes, so the versions must agree.

    Args:
        text: the content of a file.

    Returns:
        A mapping, a list or a scalar.

    Raises:
        InputError: the text is not valid YAML, or a mapping has a key twice.
    """
    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise InputError(f"not valid YAML: {_explain_yaml(error)}") from None


def _explain_yaml(error: YAMLError) -> str:
    """Return the problem and its line number, without the advice for programmers."""
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    mark = getattr(error, "problem_mark", None)
    return f"{problem}, line {mark.line + 1}" if mark is not None else problem
