"""The files of the report: numbers, tables, figures, contact sheets, and the page that has all."""

from pathlib import Path

import jinja2

from pokecam.files import whole_file, whole_folder, write_csv, write_json
from pokecam.report import figures, page, sheets
from pokecam.report.inputs import Inputs
from pokecam.report.overlay import css_gradient
from pokecam.report.page import Page
from pokecam.report.sheets import PANEL_PX, Sheet


def write(inputs: Inputs, out: Path) -> None:
    """Write the report into `out`; the same inputs give the same bytes.

    `figures/` and `sheets/` are replaced as a whole, so that no picture of an earlier class list
    stays behind; anything else in `out` is left alone.
    """
    contents = page.build(inputs)
    write_json(out / "metrics.json", page.metrics(inputs))
    write_csv(out / "history.csv", inputs.history)
    shown = ["file", "label", "predicted", "probability"]
    write_csv(out / "predictions.csv", inputs.predictions[shown])
    write_csv(out / "per_class.csv", inputs.per_class)
    with whole_folder(out / "figures") as folder:
        figures.curves(inputs.history, folder / "curves.svg")
        figures.confusion(contents.confusion, inputs.packed.classes, folder / "confusion.svg")
    placed = {}
    with whole_folder(out / "sheets") as folder:
        for result in contents.classes:
            image, placed[result.slug] = sheets.draw(result, inputs, contents.methods)
            sheets.save(image, folder / f"{result.slug}.jpg")
    with whole_file(out / "index.html") as path:
        path.write_text(render(contents, placed), encoding="utf-8", newline="\n")


def render(contents: Page, placed: dict[str, Sheet]) -> str:
    """Return the page as HTML. Texts are escaped by the template engine, all of them.

    placed: slug → the sheet of that class.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = page.percent
    return environment.get_template("template.html").render(
        page=contents,
        sheets=placed,
        panel_px=PANEL_PX,
        gradient=css_gradient(),
        readable_classes=figures.READABLE_CLASSES,
    )
