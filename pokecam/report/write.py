"""The files of the report: numbers, tables, figures, contact sheets, and the page that has all."""

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


def write_report(inputs: Inputs, out: Path) -> None:
    """Write the report into `out`; the same inputs give the same bytes.

    `figures/`, `sheets/` and `images/` are replaced as a whole, so that nothing of an earlier
    class list stays behind; anything else in `out` is left alone.
    """
    contents = page.build_page(inputs)
    images = gallery.build_gallery(inputs)
    write_json(out / "metrics.json", page.metrics(inputs))
    write_csv(out / "history.csv", inputs.history)
    shown = ["file", "label", "predicted", "probability"]
    write_csv(out / "predictions.csv", inputs.predictions[shown])
    write_csv(out / "per_class.csv", inputs.per_class)
    with whole_folder(out / "figures") as folder:
        figures.curves(inputs.history, folder / "curves.svg")
        figures.confusion(contents.confusion, inputs.packed.classes, folder / "confusion.svg")
        figures.measures(inputs.judgement, folder / "measures.svg")
    with whole_folder(out / "sheets") as folder:
        sheets.save(examples.contact(inputs, images), folder / "contact.jpg")
        alike = examples.lookalikes(inputs, images)
        if alike is not None:
            sheets.save(alike, folder / "lookalikes.jpg")
    with whole_folder(out / "images") as folder:
        gallery.write_bundles(images, inputs, folder)
    with whole_file(out / "index.html") as path:
        told = render(contents, gallery.data(images, inputs))
        path.write_text(told, encoding="utf-8", newline="\n")
    with whole_file(out / "README.md") as path:
        path.write_text(summary(contents, images), encoding="utf-8", newline="\n")


def render(contents: Page, data: dict[str, Any]) -> str:
    """Return the page as HTML. Texts are escaped by the template engine, all of them.

    data: what `gallery.data` gives.
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
            orders=[(measure["key"], f"worst {measure['title']}") for measure in data["measures"]],
            data=Markup(gallery.as_json(data)),  # escaped by as_json
            against=css_gradient(AGAINST[::-1]),
            gradients={name: css_gradient(table) for name, table in COLOURS.items()},
            readable_classes=figures.READABLE_CLASSES,
        )
    )


def summary(contents: Page, images: Gallery) -> str:
    """Return what `README.md` says: headlines and figures, for git hosts, which show no HTML."""
    return (
        environment()
        .get_template("summary.md")
        .render(page=contents, has_pairs=bool(images.pairs), has_measures=bool(contents.trust.rows))
    )
