"""params.yaml as JSON schema: what editors complete, explain and underline by.

It follows from the `Settings` of all stages and from the comments in params.yaml. What depends on
several parameters, or on images and network, only the stages can tell.
"""

import json
import re
from pathlib import Path
from typing import Any

from pokecam.cam.methods import CamSettings
from pokecam.common import params
from pokecam.data.packed.splits import SplitSettings
from pokecam.data.packing.pack import SelectSettings
from pokecam.data.sources.registry import DownloadSettings
from pokecam.judging.scores import JudgeSettings
from pokecam.networks.pretrained import WeightsSettings
from pokecam.training.settings import Recipe, TrainSettings

FILE = Path("params.schema.json")
SETTINGS = (
    *(DownloadSettings, SelectSettings, SplitSettings, WeightsSettings),
    *(TrainSettings, Recipe, CamSettings, JudgeSettings),
)
_EXPLAINED = re.compile(r"^(\w+):.* # *(.+)$", re.MULTILINE)


def text(path: Path) -> str:
    """The schema, as JSON, with the comments of the parameters in the file `path`.

    Raises `InputError` as `params.read_all_params` does.
    """
    params.read_all_params(path)
    comments = explained(path.read_text(encoding="utf-8"))
    known = {
        name: {"description": comments.get(name, "")} | _plain(value)
        for settings in SETTINGS
        for name, value in settings.model_json_schema()["properties"].items()
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PokeCAM's parameters",
        "type": "object",
        "properties": known,
        "required": list(known),
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def explained(written: str) -> dict[str, str]:
    """Parameter → the comment in its line."""
    return {match[1]: match[2] for match in _EXPLAINED.finditer(written)}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of names."""
    return {key: content for key, content in value.items() if key != "title"}
