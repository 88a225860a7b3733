"""Check every parameter before anything runs."""

from pathlib import Path

from pokecam.common.files import whole_file
from pokecam.common.running import run
from pokecam.parameters.check import check_params

# Always the same, so that no stage runs again because this one did.
CONTENT = "Every parameter is valid.\n"


def main(out: Path = Path("data/checked.txt")) -> None:
    check_params()
    with whole_file(out) as temporary:
        temporary.write_text(CONTENT, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run(main)
