"""Small made-up species for the tests: nothing here depends on the catalogue's drawings."""

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
    """The settings that the project's images are drawn with."""
    return read_settings(PROJECT / "datasets" / "drawn.yaml")


def still(**changes: object) -> DrawnSettings:
    """Settings under which nothing varies: upright, centred, true colours, flat, plain ground."""
    pose = ("swing", "growth", "cut", "turn_deg", "shear", "stretch", "perspective")
    none = dict.fromkeys((*pose, "hue_deg", "part_colour", "warmth", "tint", "light"), 0.0)
    kinds = {
        "styles": "flat",
        "backgrounds": "plain",
        "distractors": "none",
        "covers": "none",
    }
    weights = {
        key: {name: float(name == chosen) for name in getattr(frozen(), key)}
        for key, chosen in kinds.items()
    }
    fixed = {"size": (1.0, 1.0), "saturation": (1.0, 1.0), "brightness": (1.0, 1.0)}
    fixed |= {"noise": (0.0, 0.0), "jpeg_quality": (90.0, 90.0)}
    return DrawnSettings(**(frozen().model_dump() | none | weights | fixed | changes))


def only(key: str, chosen: str) -> dict[str, dict[str, float]]:
    """Frequencies under which `chosen` is the only one of its kind, as a change of settings."""
    return {key: {name: float(name == chosen) for name in getattr(frozen(), key)}}


def write_catalogue(folder: Path, **texts: str) -> Path:
    """A settings file in `folder` whose catalogue holds the given SVG texts by name."""
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
