"""The report of many classes: its size, and the time to write, to open and to scroll it.

    python benchmarks/report.py                       # 150 classes × 15 test images
    python benchmarks/report.py --classes 10 --each 12

The images are those of the committed run (`dvc repro` must have run), repeated under other names.
Predictions and maps are random. Three of a hundred images are misclassified. Chromium opens the
page from the file system, `--rounds` times:

    opened    from the request to the first map that is painted, in a gallery that is in view
    whole     from the request to the end of loading
    frame     between two frames while the page scrolls through the gallery, 60 px a frame; a screen
              shows one every 16.7 ms

Prints medians and largest values.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright
from support import PROJECT

from pokecam.cam.stored_maps import StoredMaps
from pokecam.judging.predictions import evaluate
from pokecam.report import inputs
from pokecam.report.write import write_report

MISCLASSIFIED = 0.03
PAINTED = "[...document.querySelectorAll('#gallery canvas')].some(c => c.width > 1)"
SCROLL = """() => new Promise(done => {
    const frames = [];
    let last = performance.now();
    const next = () => {
        const now = performance.now();
        frames.push(now - last);
        last = now;
        window.scrollBy({top: 60, behavior: "instant"});
        if (frames.length < 600) requestAnimationFrame(next); else done(frames.slice(1));
    };
    requestAnimationFrame(next);
})"""


def many_classes(classes: int, each: int) -> inputs.Inputs:
    """Return the inputs of the committed run with other classes, images and maps."""
    data = PROJECT / "data"
    run = inputs.read_inputs(
        images_folder=data / "images",
        split=data / "split.csv",
        lookalikes=data / "lookalikes.json",
        history=PROJECT / "models/history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        judgement=data / "judgement",
        settings=PROJECT / "params.yaml",
    )
    rng = np.random.default_rng(0)
    names = [f"class {number:03d}" for number in range(classes)]
    n = classes * each
    labels = np.repeat(range(classes), each)
    files = [f"{names[label]}/{number:04d}.jpg" for number, label in enumerate(labels)]
    predicted = np.where(rng.random(n) < MISCLASSIFIED, rng.integers(0, classes, n), labels)
    probabilities = rng.dirichlet(np.full(classes, 0.1), n) * 0.3
    probabilities[range(n), predicted] += 0.7
    evaluation = evaluate(files, labels, probabilities, names)
    packed = replace(
        run.packed,
        pixels=run.packed.pixels[np.arange(n) % len(run.packed.pixels)],
        masks=None
        if run.packed.masks is None
        else run.packed.masks[np.arange(n) % len(run.packed.masks)],
        manifest=pd.DataFrame({"file": files, "label": np.array(names)[labels]}),
        classes=names,
        boxes=None,
        scenes=None,
    )
    shape = (n, classes, *run.first_maps.size)
    maps = {name: StoredMaps(rng.normal(size=shape).astype(np.float32)) for name in run.titles}
    measures = list(run.judgement.about["measures"])
    scores = pd.DataFrame(
        [
            {"file": file, "method": method} | dict(zip(measures, values, strict=True))
            for method in run.titles
            for file, values in zip(files, rng.random((n, len(measures))), strict=True)
        ]
    )
    judgement = replace(run.judgement, scores=scores, parts=None, importance=None, lookalikes=None)
    return replace(
        run,
        packed=packed,
        predictions=evaluation.predictions,
        per_class=evaluation.per_class,
        confusion=evaluation.confusion,
        lookalikes=[names[:2], names[2:4]],
        metrics=evaluation.metrics,
        maps=maps,
        judgement=judgement,
    )


def in_browser(browser: Browser, page_file: Path) -> tuple[float, float, list[float]]:
    """Return ms to the first map, to the end of loading, and of each frame while scrolling."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(page_file.as_uri() + "#sort=class&sure=&label=&reverse=", wait_until="commit")
    page.wait_for_function(PAINTED)
    painted = time.perf_counter() - started
    page.wait_for_load_state("load")
    loaded = time.perf_counter() - started
    frames = page.evaluate(SCROLL)
    page.close()
    return 1000 * painted, 1000 * loaded, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--each", type=int, default=15, help="test images of each class")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder in which the report stays")
    options = parser.parse_args()
    run = many_classes(options.classes, options.each)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.keep or Path(temporary)
        started = time.perf_counter()
        write_report(run, out)
        seconds = time.perf_counter() - started
        files = [path for path in out.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        index = (out / "index.html").stat().st_size
        print(f"{options.classes} classes × {options.each}: written in {seconds:.1f} s")
        print(f"{size / 1e6:.1f} MB in {len(files)} files, index.html {index / 1e6:.2f} MB")
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            rounds = [in_browser(browser, out / "index.html") for _ in range(options.rounds)]
            browser.close()
        painted, loaded, frames = zip(*rounds, strict=True)
        frame_ms = np.concatenate(frames)
        print(f"opened {statistics.median(painted):.0f} ms (largest {max(painted):.0f})")
        print(f"whole  {statistics.median(loaded):.0f} ms (largest {max(loaded):.0f})")
        print(
            f"frame  {np.median(frame_ms):.1f} ms, 95 % below {np.quantile(frame_ms, 0.95):.1f}, "
            f"largest {frame_ms.max():.0f} (n = {len(frame_ms)})"
        )


if __name__ == "__main__":
    main()
