"""The files of the report: numbers, tables, figures, contact sheets, and the page."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from pokecam.common.files import whole_file, whole_folder, write_csv, write_json
from pokecam.report import examples, figures, gallery, page, sheets
from pokecam.report.gallery import Gallery
from pokecam.report.inputs import Inputs
from pokecam.report.jinja import environment
from pokecam.report.overlay import AGAINST, COLOURS, css_gradient
from pokecam.report.page import Page
from pokecam.report.trust import PARTS_PER_CLASS


def write_report(inputs: Inputs, out: Path) -> None:
    """Write the report; the same inputs give the same bytes.

    The folders `figures/`, `sheets/` and `images/` are replaced as a whole, so that no file of an
    earlier list of classes remains. Other files in `out` stay.

    Args:
        inputs: of the report.
        out: the folder to write to.
    """
    contents = page.build_page(inputs)
    images = gallery.build_gallery(inputs)
    write_json(out / "metrics.json", page.metrics(inputs))
    write_csv(out / "history.csv", inputs.history)
    columns = ["file", "label", "predicted", "probability"]
    write_csv(out / "predictions.csv", inputs.predictions[columns])
    write_csv(out / "per_class.csv", inputs.per_class)
    with whole_folder(out / "figures") as folder:
        figures.draw_curves(inputs.history, folder / "curves.svg")
        figures.draw_confusion(contents.confusion, inputs.packed.classes, folder / "confusion.svg")
        figures.draw_measures(inputs.judgement, folder / "measures.svg")
    with whole_folder(out / "sheets") as folder:
        sheets.save(examples.class_sheet(inputs, images), folder / "contact.jpg")
        lookalikes = examples.lookalikes_sheet(inputs, images)
        if lookalikes is not None:
            sheets.save(lookalikes, folder / "lookalikes.jpg")
    with whole_folder(out / "images") as folder:
        gallery.write_bundles(images, inputs, folder)
    with whole_file(out / "index.html") as path:
        html = render_page(contents, gallery.page_data(images, inputs))
        path.write_text(html, encoding="utf-8", newline="\n")
    with whole_file(out / "README.md") as path:
        path.write_text(render_summary(contents, images), encoding="utf-8", newline="\n")


def render_page(contents: Page, data: dict[str, Any]) -> str:
    """Return `index.html`; the template engine escapes all texts.

    Args:
        contents: of the page.
        data: as `gallery.page_data` returns them.
    """
    names = [result.name for result in contents.classes]
    pairs = {frozenset(pair["of"]): pair["key"] for pair in data["pairs"]}
    return (
        environment()
        .get_template("template.html")
        .render(
            page=contents,
            pairs=list(pairs.values()),
            pair_of=lambda *labels: pairs[frozenset(map(names.index, labels))],
            methods=[(method["key"], method["title"]) for method in data["methods"]],
            orders=[
                (measure["key"], f"worst {measure['title']} first") for measure in data["measures"]
            ],
            data=Markup(gallery.as_json(data)),  # escaped by as_json
            against=css_gradient(AGAINST[::-1]),
            gradients={name: css_gradient(table) for name, table in COLOURS.items()},
            readable_classes=figures.READABLE_CLASSES,
            parts_per_class=PARTS_PER_CLASS,
        )
    )


def render_summary(contents: Page, images: Gallery) -> str:
    """Return `README.md`: headlines and figures, for git hosts, which do not display HTML.

    Args:
        contents: of the page.
        images: whether it has pairs of look-alikes decides whether their sheet is included.
    """
    has_measures = bool(contents.trust.recommended_rows)
    return (
        environment()
        .get_template("summary.md")
        .render(page=contents, has_pairs=bool(images.pairs), has_measures=has_measures)
    )
