"""Why edges do well in insertion: it depends on what the first image lacks.

    python benchmarks/insertion.py            # in a clone where `dvc repro` has run

Computes insertion of CAM, CAM with PAMR, edges and the centred Gaussian for all test images of
the default run. It begins with the blurred image of RISE (σ 5 px), with a more blurred one (σ 20
px), or with the mean colour. Prints means over images, and how far CAM and CAM with PAMR are above
edges, with 95 % confidence intervals and p (signed-rank test, uncorrected).
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from support.figures import with_interval
from support.stages import load_test_case, require_default_run, workplace_of_default_run
from torch import Tensor

from pokecam.judging import faithfulness
from pokecam.judging.case import Case
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.parallel import map_images
from pokecam.judging.significance import interval, p_paired
from pokecam.networks import device

OURS = ["cam", "pamr_cam"]
METHODS = [*OURS, "edges", "centre"]
START = {
    "blurred, σ 5 px": faithfulness.blur,
    "blurred, σ 20 px": partial(faithfulness.blur, size_px=81, sigma_px=20.0),
    "the mean colour": torch.zeros_like,
}


def areas(case: Case) -> dict[str, np.ndarray]:
    """Return first image → area under the curve, (N, methods)."""
    columns = [case.methods.index(name) for name in METHODS]

    def insert(i: int, x: Tensor) -> list[np.ndarray]:
        heatmaps = heatmaps_of_predicted(case, np.array([i]), x)
        pixels = faithfulness.order(heatmaps[:, columns])
        target = torch.from_numpy(case.predicted[[i]])
        curves = [
            faithfulness.deletion_insertion(case.probabilities, x, target, pixels, start=start)
            for start in START.values()
        ]
        return [faithfulness.area(curve.insertion)[0] for curve in curves]

    of_images = np.array(map_images(case, case.rows, insert, "insertion"))  # (N, starts, methods)
    return dict(zip(START, of_images.transpose(1, 0, 2), strict=True))


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    require_default_run()
    device.pick_device("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        case = load_test_case(workplace_of_default_run(Path(temporary, "maps"), cam_methods=OURS))
        areas_of_starts = areas(case)
    print(f"n = {len(case.rows)} images")
    for start, values in areas_of_starts.items():
        means = zip(METHODS, values.mean(axis=0), strict=True)
        print(f"begun with {start}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means))
        for method in OURS:
            differences = values[:, METHODS.index(method)] - values[:, METHODS.index("edges")]
            figure = with_interval(interval(differences, seed=1))
            print(f"  {method} above edges by {figure}, p = {p_paired(differences):.1e}")


if __name__ == "__main__":
    main()
