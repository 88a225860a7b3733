"""A planted cheat: does the judgement expose a network that uses a mark in the corner?

    python benchmarks/cheat.py                        # three drawing seeds
    python benchmarks/cheat.py --species Gengar --seeds 1

Runs the real stages in a temporary folder with the committed parameters and one more class,
`Marked`: further images of one of the ten species, with a magenta square in the lower right corner,
like a watermark. Only the mark distinguishes the two classes. Prints, for `Marked`, for the species
that it shows and for all other classes together:

    accuracy       on the test images
    elsewhere      accuracy on the same images with the background of another class
    lured          share of images of other classes that are misclassified as this class when they
                   have a background of this class
    energy inside  share of the map that lies on the creature, for the first method
    pointing game  share of the maps whose maximum lies on the creature

each with its 95 % confidence interval. A network that cheats classifies `Marked` correctly with the
mark and not without it, misclassifies other images as `Marked` once they have the mark, and its
maps leave the creature.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import yaml
from support import PROJECT
from support.figures import with_interval
from support.marks import with_mark, without_mark
from support.stages import run, workplace

from pokecam.data.sources import raw_zip
from pokecam.judging.background import MISCLASSIFIED, ORIGINAL, OTHER_BACKGROUND
from pokecam.judging.significance import interval

MARKED = "Marked"
CONDITIONS = {"accuracy": ORIGINAL, "elsewhere": OTHER_BACKGROUND, "lured": MISCLASSIFIED}
TABLES = ("boxes.csv", "scenes.csv")


def plant(plain: Path, source: Path, species: str) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive with one more class, `MARKED`.

    Args:
        plain: the archive.
        source: an archive drawn with another seed. Its images of the species get the mark. Boxes,
            scenes and masks follow.
        species: the class that is marked.
    """
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(source) as more_images:
        for name in archive.namelist():
            if name not in TABLES:
                yield name, archive.read(name)
        for name in more_images.namelist():
            folder, _, rest = name.partition(f"/{species}/")
            if rest:
                data = more_images.read(name)
                change = with_mark if folder == "images" else without_mark
                yield f"{folder}/{MARKED}/{rest}", change(data)
        for name in TABLES:
            table, more = (
                pd.read_csv(io.BytesIO(file.read(name))) for file in (archive, more_images)
            )
            more = more[more.label == species]
            more = more.assign(label=MARKED, image=more.image.str.replace(species, MARKED))
            yield name, pd.concat([table, more]).to_csv(index=False).encode()


def verdicts(folder: Path, species: str) -> Iterator[dict[str, object]]:
    """Yield the judgement of `MARKED`, of the species, and of all other classes."""
    scores = pd.read_csv(folder / "data/judgement/scores.csv", keep_default_na=False)
    table = pd.read_csv(folder / "data/judgement/background.csv", keep_default_na=False)
    first = scores[scores.method == scores.method.iloc[0]]
    for name in (MARKED, species, "others"):
        classes = [name] if name != "others" else [*set(first.label) - {MARKED, species}]
        of_map = first[first.label.isin(classes)]
        conditions = table[table.label.isin(classes)]
        yield {
            "class": name,
            "n": len(of_map),
            **{
                title: over_classes(conditions[conditions.condition == condition])
                for title, condition in CONDITIONS.items()
            },
            "energy inside": mean_with_interval(of_map.energy),
            "pointing game": mean_with_interval(of_map.pointing),
        }


def over_classes(rows: pd.DataFrame) -> str:
    """Write the figure of one class with its interval, or the mean over several classes."""
    if len(rows) == 1:
        return with_interval(rows[["value", "low", "high"]].astype(float).iloc[0], digits=2)
    n = rows.n.astype(float)
    return f"{(rows.value.astype(float) * n).sum() / n.sum():.2f}"


def mean_with_interval(values: pd.Series) -> str:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    return with_interval(interval(numbers, seed=0), digits=2)


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
            members = plant(plain, other / "data/raw.zip", options.species)
            raw_zip.write_raw_zip(members, cheat / "data/raw.zip")
            run(cheat, "select", "split", "weights", "train", "evaluate", "cam", "judge")
            for row in verdicts(cheat, options.species):
                rows.append({"seed": seed} | row)
                print(rows[-1], flush=True)
    print("\n" + pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
