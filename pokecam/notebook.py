"""Explanations that a notebook shows as images, and a terminal as text."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

from pokecam.commands import explain

MAX_SHOWN = 20  # images of a list that a notebook shows: its file holds a copy of each


@dataclass(frozen=True, repr=False)
class Explanation(explain.Explanation):
    """The prediction and the heatmaps of one image, which a notebook shows.

    Its attributes are those of `commands.explain.Explanation`: `file`, `pixels`, `probabilities`,
    `heatmaps` by (class, method), `empty`, `differences` by (class, other class, method),
    `n_nearer`, `n_validation`, `is_unlike`.
    """

    def __repr__(self) -> str:
        most_probable = list(self.probabilities.items())[:3]
        answer = ", ".join(f"{name} {explain.percent(value)}" for name, value in most_probable)
        return "; ".join(filter(None, [f"{self.file}: {answer}", explain.distance_text(self)]))

    def _repr_png_(self) -> bytes:
        """Return the drawing of `draw`, for a notebook."""
        file = io.BytesIO()
        explain.draw(self).save(file, "PNG")
        return file.getvalue()


class Explanations(Sequence[Explanation]):
    """The explanations of several images, in their order. A notebook shows the first of them.

    Args:
        explanations: one for each image.
    """

    def __init__(self, explanations: Iterable[Explanation]) -> None:
        self._explanations = tuple(explanations)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._explanations)

    @overload
    def __getitem__(self, index: int) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> "Explanations": ...

    def __getitem__(self, index: int | slice) -> "Explanation | Explanations":
        """Return the explanation of one image, or those of a slice of the images."""
        if isinstance(index, slice):
            return Explanations(self._explanations[index])
        return self._explanations[index]

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        """Return the drawings of the first `MAX_SHOWN` images with their text, for a notebook."""
        parts = []
        for explanation in self[:MAX_SHOWN]:
            data = base64.b64encode(explanation._repr_png_()).decode()
            text = html.escape(repr(explanation))
            parts.append(f'<p>{text}<br><img alt="{text}" src="data:image/png;base64,{data}"></p>')
        if len(self) > MAX_SHOWN:
            parts.append(f"<p>… and {len(self) - MAX_SHOWN} more</p>")
        return "\n".join(parts)
