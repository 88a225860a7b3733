"""Write the report, the only outputs that git stores."""

from pathlib import Path

from pokecam.common.running import run
from pokecam.report.inputs import read_inputs
from pokecam.report.write import write_report


def main(
    images: Path = Path("data/images"),
    split: Path = Path("data/split.csv"),
    lookalikes: Path = Path("data/lookalikes.json"),
    history: Path = Path("models/history.csv"),
    evaluation: Path = Path("data/evaluation"),
    cams: Path = Path("data/cams"),
    judgement: Path = Path("data/judgement"),
    params: Path = Path("params.yaml"),
    out: Path = Path("reports"),
) -> None:
    inputs = read_inputs(
        images_folder=images,
        split=split,
        lookalikes=lookalikes,
        history=history,
        evaluation=evaluation,
        cams=cams,
        judgement=judgement,
        settings=params,
    )
    write_report(inputs, out)


if __name__ == "__main__":
    run(main)
