"""Why edges do well in insertion: what the first image lacks decides.

    python benchmarks/insertion.py            # in a clone where `dvc repro` has run

Of all test images of the default run: insertion of CAM, refined CAM, edges and the Gaussian in
the centre, begun with RISE's blurred image (σ 5 px), with a more blurred one (σ 20 px) and with
the mean colour. Prints means over images, and how far CAM and refined CAM are above edges, with
95 % intervals and p (signed-rank test, uncorrected).
"""

import tempfile
from functools import partial
from pathlib import Path

import judge
import numpy as np
import torch
from figures import told
from torch import Tensor

from pokecam.judging import faithfulness
from pokecam.judging.case import Case
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.significance import interval, p_paired
from pokecam.networks import device

OURS = ["cam", "refined_cam"]
METHODS = [*OURS, "edges", "centre"]
START = {
    "blurred, σ 5 px": faithfulness.blur,
    "blurred, σ 20 px": partial(faithfulness.blur, size_px=81, sigma_px=20.0),
    "the mean colour": torch.zeros_like,
}


def areas(case: Case) -> dict[str, np.ndarray]:
    """First image → area under the curve, (N, methods)."""
    found = {name: np.empty((len(case.rows), len(METHODS))) for name in START}

    def insert(i: int, x: Tensor) -> None:
        shown = heatmaps_of_predicted(case, np.array([i]), x)
        pixels = faithfulness.order(shown[:, [case.methods.index(name) for name in METHODS]])
        target = torch.from_numpy(case.predicted[[i]])
        for name, start in START.items():
            curves = faithfulness.deletion_insertion(
                case.probability, x, target, pixels, start=start
            )
            found[name][i] = faithfulness.area(curves.insertion)[0]

    case.each(insert, case.rows, "insertion")
    return found


def main() -> None:
    judge.need_default_run()
    device.pick_device("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        place = judge.prepared(Path(temporary, "maps"), cam_methods=OURS)
        case = judge.loaded(place, OURS)
        made = areas(case)
    print(f"n = {len(case.rows)} images")
    for start, found in made.items():
        means = zip(METHODS, found.mean(axis=0), strict=True)
        print(f"begun with {start}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means))
        for method in OURS:
            ahead = found[:, METHODS.index(method)] - found[:, METHODS.index("edges")]
            known = told(interval(ahead, seed=1))
            print(f"  {method} above edges by {known}, p = {p_paired(ahead):.1e}")


if __name__ == "__main__":
    main()
