"""Progress that a person can read: a bar on a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 30.0
WORTH_A_LINE_S = 5.0


@contextmanager
def counting(
    what: str, total: int | None, unit: str = "images", *, shown: bool = True
) -> Iterator[Callable[[int], object]]:
    """Show how far `what` is: the function given is told how many more of `total` are done, None
    where that is not known before.

    Elsewhere than on a terminal there is a line every `LINE_EVERY_S`, and one at the end unless it
    came within `WORTH_A_LINE_S`. shown: False keeps silent.
    """
    on_terminal = sys.stderr.isatty()
    began = told = time.monotonic()
    done = 0

    def count(more: int) -> None:
        nonlocal done, told
        done += more
        bar.update(more)
        now = time.monotonic()
        if not on_terminal and now - told >= LINE_EVERY_S:
            told = now
            say(f"{done}{left(now)}")

    def left(now: float) -> str:
        if not total:
            return ""
        return f"/{total}, {_duration((now - began) / done * (total - done))} left"

    def say(text: str) -> None:
        if shown:
            tqdm.write(f"{what}: {text}", file=sys.stderr)

    with tqdm(
        total=total, desc=what, unit=f" {unit}", disable=not (shown and on_terminal), leave=False
    ) as bar:
        yield count
    took = time.monotonic() - began
    if took >= WORTH_A_LINE_S:
        say(f"{done} {unit} in {_duration(took)}")


class Progress:
    """How far a training is: `with Progress(epochs) as progress`, then for each epoch `begin(…)`,
    `step(n, loss=…)` after every step, `end(loss=…, …)`, with the figures to show.

    shown: False keeps silent.
    """

    def __init__(self, epochs: int, *, shown: bool = True) -> None:
        self.epochs = epochs
        self.shown = shown
        self.epoch = 0
        self.images = 0  # in an epoch
        self.seen = self.seen_before = 0  # of them; before this epoch was taken up
        self.done = 0.0  # epochs, since the start
        self.started = self.began = time.monotonic()
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

    def begin(self, epoch: int, images: int, seen: int = 0) -> None:
        """Begin an epoch, or go on in it after some of its images have been seen."""
        self.epoch, self.images, self.seen = epoch, images, seen
        self.began, self.seen_before = time.monotonic(), seen
        self.bar = tqdm(
            total=images,
            initial=seen,
            desc=f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}",
            unit=" images",
            bar_format="{desc} {percentage:3.0f}% {bar:16} {rate_fmt}{postfix}",
            disable=not (self.shown and sys.stderr.isatty()),
            ncols=shutil.get_terminal_size().columns,  # tqdm shows nothing where it is told 0
        )

    def step(self, images: int, **figures: float) -> None:
        """Count a step that showed some images."""
        self.done += images / self.images
        self.seen += images
        self.bar.set_postfix_str(self._text(figures), refresh=False)
        self.bar.update(images)

    def end(self, **figures: float) -> None:
        """End the epoch."""
        rate = (self.seen - self.seen_before) / (time.monotonic() - self.began)
        text = f"{self._text(figures)}, {rate:.0f} images/s"
        if self.shown and self.bar.disable:
            tqdm.write(f"epoch {self.epoch}/{self.epochs}: {text}", file=sys.stderr)
        self.bar.set_postfix_str(text)
        self.bar.close()

    def _text(self, figures: dict[str, float]) -> str:
        told = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()]
        if self.done:
            left = self.epochs - self.epoch + 1 - self.seen / self.images
            elapsed = time.monotonic() - self.started
            told.append(f"{_duration(elapsed / self.done * left)} left")
        return ", ".join(told)


def _duration(seconds: float) -> str:
    """45 s, 3:05 min, 2:10 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
