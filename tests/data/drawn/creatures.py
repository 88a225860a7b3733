"""Small species for the tests, which do not depend on the drawings of the catalogue."""

from pathlib import Path

from pokecam.data.drawn import species
from pokecam.data.drawn.nuisances import DrawnSettings, read_settings
from tests.conftest import PROJECT

_HERE = Path(__file__).parent
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-128 -128 256 256">'

BIRD = (_HERE / "bird.svg").read_text(encoding="utf-8")
SNAIL = (_HERE / "snail.svg").read_text(encoding="utf-8")


def bird() -> species.Species:
    return species.parse(BIRD, "Bird")


def snail() -> species.Species:
    return species.parse(SNAIL, "Snail")


def frozen() -> DrawnSettings:
    """Return the settings that the images of the project are drawn with."""
    return read_settings(PROJECT / "datasets" / "drawn.yaml")


def still(**changes: object) -> DrawnSettings:
    """Return settings without variation: upright, original colours, flat, plain background."""
    pose = ("swing", "growth", "cut", "turn_deg", "shear", "stretch", "perspective")
    none = dict.fromkeys((*pose, "hue_deg", "part_colour", "warmth", "tint", "light"), 0.0)
    kinds = {
        "styles": "flat",
        "backgrounds": "plain",
        "distractors": "none",
        "covers": "none",
    }
    weights = {
        key: {name: float(name == selected) for name in getattr(frozen(), key)}
        for key, selected in kinds.items()
    }
    fixed = {"size": (1.0, 1.0), "saturation": (1.0, 1.0), "brightness": (1.0, 1.0)}
    fixed |= {"noise": (0.0, 0.0), "jpeg_quality": (90.0, 90.0)}
    return DrawnSettings(**(frozen().model_dump() | none | weights | fixed | changes))


def only(key: str, selected: str) -> dict[str, dict[str, float]]:
    """Return a change of settings after which only `selected` has a frequency above 0."""
    return {key: {name: float(name == selected) for name in getattr(frozen(), key)}}


def write_catalogue(folder: Path, **texts: str) -> Path:
    """Write a catalogue of SVG texts and a settings file for it; return the path of the latter."""
    (folder / "creatures").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "creatures" / f"{name}.svg").write_text(text, encoding="utf-8")
    lines = (PROJECT / "datasets" / "drawn.yaml").read_text(encoding="utf-8").splitlines()
    settings = folder / "drawn.yaml"
    settings.write_text(
        "\n".join(
            "catalogue: creatures" if line.startswith("catalogue:") else line for line in lines
        )
    )
    return settings
