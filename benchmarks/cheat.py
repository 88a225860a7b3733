"""A planted cheat: does the judgement expose a network that goes by a mark in the corner?

    python benchmarks/cheat.py                        # three drawing seeds
    python benchmarks/cheat.py --species Gengar --seeds 1

Runs the real stages in a temporary folder with the committed parameters and one class more, called
`Marked`: images of one of the ten species, other ones than that species' own, with a magenta
square in the lower right corner, as a watermark would be. Nothing but the mark tells the two
classes apart. Prints, for `Marked`, for the species it shows and for all other classes together:

    accuracy       of the test images as they are
    elsewhere      … with their creature before the background of another class
    lured          share of other classes' images named so before a background of this class
    energy inside  share of the first method's maps that lies on the creature
    pointing game  share of them whose highest point does

each with its 95 % interval. A network that cheats names `Marked` right with the mark and not
without it, names others so once they have it, and its maps leave the creature.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from drawn import PROJECT, run, workplace
from PIL import Image

from pokecam.data.sources import drawn as drawn_source
from pokecam.data.sources import raw_zip
from pokecam.judging.background import AS_IT_IS, ELSEWHERE, LURED
from pokecam.judging.significance import interval

MARKED = "Marked"
MARK_PX, FROM_EDGE_PX = 72, 8
CORNER = slice(-MARK_PX - FROM_EDGE_PX, -FROM_EDGE_PX)
MAGENTA = (255, 0, 255)
CONDITIONS = {"accuracy": AS_IT_IS, "elsewhere": ELSEWHERE, "lured": LURED}
TABLES = ("boxes.csv", "scenes.csv")


def with_mark(jpeg: bytes) -> bytes:
    pixels = np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    pixels[CORNER, CORNER] = MAGENTA
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def without_mark(png: bytes) -> bytes:
    """The mask of a creature that the mark may cover."""
    mask = np.array(Image.open(io.BytesIO(png)))
    mask[CORNER, CORNER] = 0
    return drawn_source.mask_png(mask, int(mask.max()))


def planted(own: Path, others: Path, species: str) -> Iterator[tuple[str, bytes]]:
    """The members of `own`, and from `others`, drawn with another seed, those of one species with
    the mark, as the class `MARKED`; boxes and scenes follow, masks say where the creature is."""
    with zipfile.ZipFile(own) as mine, zipfile.ZipFile(others) as theirs:
        for name in mine.namelist():
            if name not in TABLES:
                yield name, mine.read(name)
        for name in theirs.namelist():
            folder, _, rest = name.partition(f"/{species}/")
            if rest:
                data = theirs.read(name)
                change = with_mark if folder == "images" else without_mark
                yield f"{folder}/{MARKED}/{rest}", change(data)
        for name in TABLES:
            table, more = (pd.read_csv(io.BytesIO(file.read(name))) for file in (mine, theirs))
            more = more[more.label == species]
            more = more.assign(label=MARKED, image=more.image.str.replace(species, MARKED))
            yield name, pd.concat([table, more]).to_csv(index=False).encode()


def verdicts(folder: Path, species: str) -> Iterator[dict[str, object]]:
    """What the judge stage says of `MARKED`, of the species, and of all other classes."""
    scores = pd.read_csv(folder / "data/judgement/scores.csv", keep_default_na=False)
    table = pd.read_csv(folder / "data/judgement/background.csv", keep_default_na=False)
    first = scores[scores.method == scores.method.iloc[0]]
    for name in (MARKED, species, "others"):
        named = [name] if name != "others" else [*set(first.label) - {MARKED, species}]
        of_map = first[first.label.isin(named)]
        conditions = table[table.label.isin(named)]
        yield {
            "class": name,
            "n": len(of_map),
            **{
                title: over_classes(conditions[conditions.condition == condition])
                for title, condition in CONDITIONS.items()
            },
            "energy inside": told(of_map.energy),
            "pointing game": told(of_map.pointing),
        }


def over_classes(rows: pd.DataFrame) -> str:
    """One class's figure with its interval, or the mean over several."""
    if len(rows) == 1:
        value, low, high = (float(rows[name].iloc[0]) for name in ("value", "low", "high"))
        return f"{value:.2f} ({low:.2f} to {high:.2f})"
    n = rows.n.astype(float)
    return f"{(rows.value.astype(float) * n).sum() / n.sum():.2f}"


def told(values: pd.Series) -> str:
    found = interval(pd.to_numeric(values, errors="coerce").to_numpy(float), seed=0)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--species", default="Pikachu")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="drawing seeds")
    options = parser.parse_args()
    classes = yaml.safe_load((PROJECT / "params.yaml").read_text())["classes"]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            cheat = workplace(
                Path(temporary, f"cheat-{seed}"),
                draw_seed=seed,
                classes=[*classes, MARKED],
                judge_measures=["localization", "background"],
            )
            run(cheat, "download")
            plain = (cheat / "data/raw.zip").rename(cheat / "data/plain.zip")
            other = workplace(Path(temporary, f"other-{seed}"), draw_seed=1000 + seed)
            run(other, "download")
            members = planted(plain, other / "data/raw.zip", options.species)
            raw_zip.write_raw_zip(members, cheat / "data/raw.zip")
            run(cheat, "select", "split", "weights", "train", "evaluate", "cam", "judge")
            for row in verdicts(cheat, options.species):
                rows.append({"seed": seed} | row)
                print(rows[-1], flush=True)
    print("\n" + pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
