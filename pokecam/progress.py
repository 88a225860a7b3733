"""Progress that a person can read: a bar per epoch on a terminal, one line per epoch elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """How far a training is: `with Progress(epochs, steps) as progress`, then for each epoch
    `begin()`, `step(loss=…)` after every step, `end(loss=…, …)`, with the figures to show."""

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs = epochs
        self.steps = steps
        self.epoch = 0
        self.started = time.monotonic()
        self.bar = tqdm(disable=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()

    def begin(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.bar = tqdm(
            total=self.steps,
            desc=f"epoch {self.epoch}/{self.epochs}",
            unit="step",
            disable=not sys.stderr.isatty(),
        )

    def step(self, **figures: float) -> None:
        """Count one step."""
        self.bar.set_postfix_str(_text(figures), refresh=False)
        self.bar.update()

    def end(self, **figures: float) -> None:
        """End the epoch."""
        elapsed = time.monotonic() - self.started
        left = elapsed / self.epoch * (self.epochs - self.epoch)
        text = f"{_text(figures)}, {left:.0f} s left"
        if self.bar.disable:
            tqdm.write(f"epoch {self.epoch}/{self.epochs}: {text}", file=sys.stderr)
        self.bar.set_postfix_str(text)
        self.bar.close()


def _text(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
