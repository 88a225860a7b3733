"""params.yaml as JSON schema, from which editors complete, explain and check parameters.

The schema is made from the `Settings` of all stages and from the comments in params.yaml. Rules
that concern several parameters, or images and network, are not in it: the stages check them.
"""

import json
import re
from pathlib import Path
from typing import Any

from pokecam.common import params
from pokecam.parameters.check import SETTINGS

FILE = Path("params.schema.json")
_COMMENT = re.compile(r"^(\w+):.* # *(.+)$", re.MULTILINE)


def text(path: Path) -> str:
    """Return the schema as JSON, with the comments of a params.yaml as descriptions.

    Args:
        path: the params.yaml. Its values do not matter.

    Raises:
        InputError: as in `params.read_all_params`.
    """
    params.read_all_params(path)
    descriptions = comments(path.read_text(encoding="utf-8"))
    properties = {
        name: {"description": descriptions.get(name, "")} | _without_title(value)
        for settings in SETTINGS
        for name, value in settings.model_json_schema()["properties"].items()
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PokeCAM's parameters",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def comments(yaml_text: str) -> dict[str, str]:
    """Return parameter → the comment in its line."""
    return {match[1]: match[2] for match in _COMMENT.finditer(yaml_text)}


def _without_title(value: dict[str, Any]) -> dict[str, Any]:
    """Return a property without the title that pydantic makes of its name."""
    return {key: content for key, content in value.items() if key != "title"}
