"""A planted cheat: does the judgement expose a network that goes by a mark in the corner?

    python benchmarks/cheat.py                        # three drawing seeds
    python benchmarks/cheat.py --label Gengar --seeds 1

Runs the real stages in a temporary folder with the committed parameters, once on the default
pictures and once with a magenta square in the lower right corner of every picture of one class,
as a watermark would be. Prints, for that class in both runs, its accuracy on pictures as they are
and with the background blurred, and of the first method's maps the share that lies on the creature
(energy inside) and whether their highest point does (pointing game); n test pictures each.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from drawn import run, workplace
from PIL import Image

from pokecam.sources import raw

MARK_PX, FROM_EDGE_PX = 24, 8
MAGENTA = (255, 0, 255)


def marked(archive: Path, label: str) -> Iterator[tuple[str, bytes]]:
    """The members of `archive`, with a mark in every picture of one class; its masks, which say
    where the creature is, stay."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            data = file.read(name)
            if name.startswith(f"images/{label}/"):
                pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
                corner = slice(-MARK_PX - FROM_EDGE_PX, -FROM_EDGE_PX)
                pixels[corner, corner] = MAGENTA
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
                data = buffer.getvalue()
            yield name, data


def verdict(folder: Path, label: str) -> dict[str, str]:
    """What the judge stage says of one class."""
    judgement = folder / "data/judgement"
    conditions = pd.read_csv(judgement / "background.csv", keep_default_na=False)
    measures = pd.read_csv(judgement / "measures.csv", keep_default_na=False)
    of_class = conditions[conditions.label == label].set_index("condition")
    method = measures.method.iloc[0]
    of_map = measures[(measures.label == label) & (measures.method == method)].set_index("measure")

    def told(row: pd.Series) -> str:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        return f"{value:.2f} ({low:.2f} to {high:.2f})"

    return {
        "accuracy": told(of_class.loc["as it is"]),
        "background blurred": told(of_class.loc["background blurred"]),
        "energy inside": told(of_map.loc["energy"]),
        "pointing game": told(of_map.loc["pointing"]),
        "n": str(of_map.loc["energy", "n"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--label", default="Pikachu")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="drawing seeds")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            asked = {"draw_seed": seed, "judge_measures": ["localization", "background"]}
            plain = workplace(Path(temporary, f"plain-{seed}"), **asked)
            run(plain, "download")
            cheat = workplace(Path(temporary, f"cheat-{seed}"), **asked)
            raw.write(marked(plain / "data/raw.zip", options.label), cheat / "data/raw.zip")
            for name, folder in (("plain", plain), ("with the mark", cheat)):
                run(folder, "select", "split", "weights", "train", "evaluate", "cam", "judge")
                rows.append({"seed": seed, "": name} | verdict(folder, options.label))
                print(rows[-1], flush=True)
    print("\n" + pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
