"""Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 30.0  # time between two lines where there is no terminal
SHORTEST_REPORTED_S = 5.0  # work that takes less than this has no line at its end


@contextmanager
def counting(
    title: str, total: int | None, unit: str = "images", *, enabled: bool = True
) -> Iterator[Callable[[int], object]]:
    """Show the progress of work that consists of many equal items.

    On a terminal this is a bar. Elsewhere it is a line every `LINE_EVERY_S` seconds, and a line at
    the end if the work took `SHORTEST_REPORTED_S` or more.

    Args:
        title: a name of the work.
        total: the number of items, or None where it is not known in advance.
        unit: what the items are, in the plural.
        enabled: whether anything is written.

    Yields:
        A function to call with the number of items that were done since the last call.
    """
    on_terminal = sys.stderr.isatty()
    start = last_line = time.monotonic()
    n_done = 0

    def count(n_more: int) -> None:
        nonlocal n_done, last_line
        n_done += n_more
        bar.update(n_more)
        now = time.monotonic()
        if not on_terminal and now - last_line >= LINE_EVERY_S:
            last_line = now
            write_line(f"{n_done}{of_total(now - start)}")

    def of_total(elapsed: float) -> str:
        if not total:
            return ""
        return f"/{total}, {_duration(elapsed / n_done * (total - n_done))} left"

    def write_line(text: str) -> None:
        if enabled:
            tqdm.write(f"{title}: {text}", file=sys.stderr)

    with tqdm(
        total=total, desc=title, unit=f" {unit}", disable=not (enabled and on_terminal), leave=False
    ) as bar:
        yield count
    elapsed = time.monotonic() - start
    if elapsed >= SHORTEST_REPORTED_S:
        write_line(f"{n_done} {unit} in {_duration(elapsed)}")


class Progress:
    """Shows the progress of a training::

        with Progress(epochs) as progress:
            for epoch in range(1, epochs + 1):
                progress.begin(epoch, n_images)
                for batch in batches:
                    progress.step(len(batch), loss=…)
                progress.end(loss=…, accuracy=…)

    Args:
        epochs: the number of epochs of the training.
        enabled: whether anything is written.
    """

    def __init__(self, epochs: int, *, enabled: bool = True) -> None:
        self.epochs = epochs
        self.enabled = enabled
        self.epoch = 0  # the number of the current epoch, from 1
        self.n_images = 0  # images of an epoch
        self.n_done = 0  # images of the current epoch that are done
        self.n_resumed = 0  # those of them that an earlier run did
        self.epochs_done = 0.0  # since the start of this run
        self.start = self.epoch_start = time.monotonic()
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

    def begin(self, epoch: int, n_images: int, n_done: int = 0) -> None:
        """Begin an epoch, or continue one that was interrupted.

        Args:
            epoch: the number of the epoch, from 1.
            n_images: the number of images of an epoch.
            n_done: the number of images of this epoch that are done already.
        """
        self.epoch, self.n_images, self.n_done = epoch, n_images, n_done
        self.epoch_start, self.n_resumed = time.monotonic(), n_done
        self.bar = tqdm(
            total=n_images,
            initial=n_done,
            desc=f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}",
            unit=" images",
            bar_format="{desc} {percentage:3.0f}% {bar:16} {rate_fmt}{postfix}",
            disable=not (self.enabled and sys.stderr.isatty()),
            ncols=shutil.get_terminal_size().columns,  # with 0, tqdm would show nothing
        )

    def step(self, n_images: int, **figures: float) -> None:
        """Count a step.

        Args:
            n_images: the number of images of the step.
            figures: figures to show, such as `loss`.
        """
        self.epochs_done += n_images / self.n_images
        self.n_done += n_images
        self.bar.set_postfix_str(self._text(figures), refresh=False)
        self.bar.update(n_images)

    def end(self, **figures: float) -> None:
        """End the epoch, and show figures about it."""
        rate = (self.n_done - self.n_resumed) / (time.monotonic() - self.epoch_start)
        text = f"{self._text(figures)}, {rate:.0f} images/s"
        if self.enabled and self.bar.disable:
            tqdm.write(f"epoch {self.epoch}/{self.epochs}: {text}", file=sys.stderr)
        self.bar.set_postfix_str(text)
        self.bar.close()

    def _text(self, figures: dict[str, float]) -> str:
        texts = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()]
        if self.epochs_done:
            remaining = self.epochs - self.epoch + 1 - self.n_done / self.n_images  # epochs
            elapsed = time.monotonic() - self.start
            texts.append(f"{_duration(elapsed / self.epochs_done * remaining)} left")
        return ", ".join(texts)


def _duration(seconds: float) -> str:
    """Return a duration as text: 45 s, 3:05 min, 2:10 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
