"""The time of the pipeline when there is nothing to do, against that of as many empty stages.

    python benchmarks/noop.py            # in a clone where `dvc repro` has run; n = 15 each

Two repositories are timed in turns: the working copy of this project, and a temporary one with the
same number of stages, each with one parameter and one small file. Every run is a process of its own
(`dvc repro`). Prints the medians, their spread and the ratio. The claim is ≤ 1.5.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from support import PROJECT


def empty_stages(folder: Path, count: int) -> None:
    """Make a DVC repository with a chain of stages, each of which copies one byte."""
    (folder / "params.yaml").write_text("key: 1\n")
    (folder / "0.txt").write_text("x")
    stages = {
        f"stage{i}": {
            "cmd": f"cp {i}.txt {i + 1}.txt",
            "deps": [f"{i}.txt"],
            "params": ["key"],
            "outs": [f"{i + 1}.txt"],
        }
        for i in range(count)
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def seconds(folder: Path) -> float:
    start = time.perf_counter()
    output = subprocess.run(
        ["dvc", "repro"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    elapsed = time.perf_counter() - start
    if "Running stage" in output:
        sys.exit(f"{folder} had something to do: run `dvc repro` there first")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="timed runs of each (default 15)")
    runs = parser.parse_args().runs
    os.environ["DVC_NO_ANALYTICS"] = "1"
    count = len(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"])
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        empty_stages(empty, count)
        times: dict[str, list[float]] = {"this pipeline": [], "empty stages": []}
        for i in range(runs + 1):  # the first of each only fills the caches
            for name, repository in (("this pipeline", PROJECT), ("empty stages", empty)):
                run_s = seconds(repository)
                if i:
                    times[name].append(run_s)
    for name, values in times.items():
        print(
            f"{name:14}  median {statistics.median(values):.2f} s"
            f"  ({min(values):.2f} to {max(values):.2f}, n = {runs}, {count} stages)"
        )
    ratio = statistics.median(times["this pipeline"]) / statistics.median(times["empty stages"])
    print(f"ratio of the medians: {ratio:.2f} (claim: at most 1.5)")


if __name__ == "__main__":
    main()
