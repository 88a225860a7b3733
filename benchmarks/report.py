"""The report of many classes: how large it is, how long it takes to write, to open and to scroll.

    python benchmarks/report.py                       # 150 classes × 15 test images
    python benchmarks/report.py --classes 10 --each 12

The images are those of the committed run (`dvc repro` must have run), again and again under other
names; predictions and maps are drawn at random, three of a hundred images are taken for another
class. The page is opened in Chromium from the file system, as often as `--rounds` says:

    opened    from asking for the page to the first map being painted in a gallery that is in view
    whole     to the end of loading
    frame     what passes between two frames while the page scrolls through the gallery, 60 px a
              frame; a screen shows one every 16.7 ms

Medians, and the largest.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pokecam.judging.predictions import evaluate  # noqa: E402
from pokecam.report import inputs  # noqa: E402
from pokecam.report.write import write_report  # noqa: E402

MISTAKEN = 0.03
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


def many(classes: int, each: int) -> inputs.Inputs:
    """The committed run's inputs with other classes, images and maps."""
    data = PROJECT / "data"
    run = inputs.read_inputs(
        images_folder=data / "images",
        split=data / "split.csv",
        history=PROJECT / "models/history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        judgement=data / "judgement",
        settings=PROJECT / "params.yaml",
    )
    chance = np.random.default_rng(0)
    names = [f"class {number:03d}" for number in range(classes)]
    n = classes * each
    labels = np.repeat(range(classes), each)
    files = [f"{names[label]}/{number:04d}.jpg" for number, label in enumerate(labels)]
    taken = np.where(chance.random(n) < MISTAKEN, chance.integers(0, classes, n), labels)
    probabilities = chance.dirichlet(np.full(classes, 0.1), n) * 0.3
    probabilities[range(n), taken] += 0.7
    said = evaluate(files, labels, probabilities, names, [names[:2], names[2:4]])
    packed = replace(
        run.packed,
        pixels=run.packed.pixels[np.arange(n) % len(run.packed.pixels)],
        masks=None
        if run.packed.masks is None
        else run.packed.masks[np.arange(n) % len(run.packed.masks)],
        manifest=pd.DataFrame({"file": files, "label": np.array(names)[labels]}),
        classes=names,
        lookalikes=[names[:2], names[2:4]],
        boxes=None,
        scenes=None,
    )
    size = run.first_maps.shape[2:]
    maps = {name: chance.normal(size=(n, classes, *size)).astype(np.float32) for name in run.titles}
    measures = list(run.judgement.about["measures"])
    scores = pd.DataFrame(
        [
            {"file": file, "method": method} | dict(zip(measures, values, strict=True))
            for method in run.titles
            for file, values in zip(files, chance.random((n, len(measures))), strict=True)
        ]
    )
    judgement = replace(run.judgement, scores=scores, parts=None, importance=None, lookalikes=None)
    return replace(
        run,
        packed=packed,
        predictions=said.predictions,
        per_class=said.per_class,
        confusion=said.confusion,
        lookalikes=said.lookalikes,
        metrics=said.metrics,
        maps=maps,
        judgement=judgement,
    )


def in_browser(browser: Browser, page_file: Path) -> tuple[float, float, list[float]]:
    """(ms to the first map, ms to the end of loading, ms of every frame while scrolling)."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(page_file.as_uri() + "#sort=class&sure=&label=&reverse=", wait_until="commit")
    page.wait_for_function(PAINTED)
    painted = time.perf_counter() - started
    page.wait_for_load_state("load")
    whole = time.perf_counter() - started
    frames = page.evaluate(SCROLL)
    page.close()
    return 1000 * painted, 1000 * whole, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--each", type=int, default=15, help="test images of each class")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the report, to look at it")
    options = parser.parse_args()
    run = many(options.classes, options.each)
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
        painted, whole, frames = zip(*rounds, strict=True)
        every = np.concatenate(frames)
        print(f"opened {statistics.median(painted):.0f} ms (largest {max(painted):.0f})")
        print(f"whole  {statistics.median(whole):.0f} ms (largest {max(whole):.0f})")
        print(
            f"frame  {np.median(every):.1f} ms, 95 % below {np.quantile(every, 0.95):.1f}, "
            f"largest {every.max():.0f} (n = {len(every)})"
        )


if __name__ == "__main__":
    main()
