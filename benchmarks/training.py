"""Fine-tuning on few images: this project beside common alternatives, on the same folds.

    python benchmarks/training.py                                     # the real images
    python benchmarks/training.py --data drawn --backbone resnet18    # the drawn default
    python benchmarks/training.py --seeds 1 --folds 1 --only ours tutorial
    python benchmarks/training.py --only ours changed --setting zoom_out=0.3
    python benchmarks/training.py --report seed1.csv seed2.csv        # rows of --csv

Each seed has five folds by groups of near-duplicates. A method learns from four of them and is
scored on the fifth, on which nothing is chosen. All methods start from the same weights and the
same files. A time runs from the files in memory to the trained network. The methods take turns on
each fold, so that all of them run on the same machine state.

    ours       `training.fit` with the parameters of params.yaml, on whole images packed as
               `select` packs them. A twentieth of its images is its validation set, which only
               scales the probabilities: nothing is chosen on it.
    tutorial   PyTorch's transfer-learning tutorial: SGD 1e-3, momentum 0.9, batch 4, StepLR 7/0.1,
               random resized crops of 224 px, mirrored; 12 epochs; scored on centre crops. Without
               its pass over the validation images after every epoch.
    probe      logistic regression (C = 0.05) on standardised pooled features of whole images
    changed    ours with the parameters of `--setting`, if there are any
    fastai     `Learner.fine_tune(12)` with `aug_transforms()`, batch 64, base rate 2e-3, where
               fastai is installed (pip install fastai==2.8.12, in an environment of its own)

Real: ../shared/real/pokemon10, mobilenet_v2 from ../shared/real/weights. Drawn: ten classes × 60
as params.yaml draws them, the shipped weights. The other methods get our network with torchvision's
head and our BatchNorm momentum (with torchvision's 0.01, mobilenet_v3 stays at chance).
"""

import argparse
import copy
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import PROJECT, images
from support.settings import add_setting, changed_recipe
from torch import nn
from torchvision import transforms

from pokecam.common.params import read_params
from pokecam.networks import classifier, device, pretrained
from pokecam.networks.classifier import MEAN, STD, Classifier, prepare
from pokecam.training.fit import fit
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages

DRAW_SEED = 1
EPOCHS = 12  # of the other methods
SIZE_PX = 224
NORMALISE = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


@dataclass(frozen=True)
class Task:
    """What a method gets for one fold."""

    files: images.Files
    train: np.ndarray  # rows of files
    test: np.ndarray
    classes: list[str]
    labels: np.ndarray  # (N,) int, of all files
    backbone: str
    state: dict[str, torch.Tensor]
    seed: int

    def network(self, head: str) -> Classifier:
        torch.manual_seed(self.seed)
        model = classifier.build_classifier(self.backbone, head, self.classes, SIZE_PX)
        pretrained.apply_weights(self.state, model)
        return model

    def opened(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files.jpegs[row])).convert("RGB")

    def packed(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([images.square(self.files.jpegs[row], SIZE_PX) for row in rows])

    def score(self, predicted: np.ndarray) -> float:
        return float((predicted == self.labels[self.test]).mean())


Trained = Callable[[], np.ndarray]  # returns the predictions for the test images
Method = Callable[[Task], Trained]


def ours(task: Task, **changes: object) -> Trained:
    params = PROJECT / "params.yaml"
    recipe = read_params(Recipe, params).model_copy(update=changes | {"seed": task.seed})
    folds = StratifiedGroupKFold(20, shuffle=True, random_state=task.seed)
    train = task.train
    inner, val = next(folds.split(train, task.labels[train], task.files.groups[train]))
    pixels = task.packed(train)
    model = task.network(read_params(TrainSettings, params).head)
    fit(
        model,
        LabelledImages(pixels, inner, task.labels[train[inner]]),
        LabelledImages(pixels, val, task.labels[train[val]]),
        recipe,
        pretrained=True,
    )

    def predict() -> np.ndarray:
        logits = classifier.predict(model, task.packed(task.test), np.arange(len(task.test)))
        return logits.argmax(1).numpy()

    return predict


def tutorial(task: Task) -> Trained:
    """https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html"""
    view = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), NORMALISE]
    )
    model = task.network("native").to(memory_format=torch.contiguous_format)
    dataset = [(row, task.labels[row]) for row in task.train]
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        collate_fn=lambda batch: (
            torch.stack([view(task.opened(row)) for row, _ in batch]),
            torch.tensor([label for _, label in batch]),
        ),
    )
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
    model.train()
    for _ in range(EPOCHS):
        for views, labels in loader:
            optimiser.zero_grad()
            loss = criterion(model(views), labels)
            loss.backward()
            optimiser.step()
        scheduler.step()
    return partial(on_centre_crops, model, task)


@torch.inference_mode()
def on_centre_crops(model: nn.Module, task: Task) -> np.ndarray:
    crop = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), NORMALISE])
    model.eval()
    views = torch.stack([crop(task.opened(row)) for row in task.test])
    return torch.cat([model(batch) for batch in views.split(16)]).argmax(1).numpy()


def probe(task: Task) -> Trained:
    model = task.network("gap").eval()
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))

    @torch.inference_mode()
    def features(rows: np.ndarray) -> np.ndarray:
        batches = torch.from_numpy(task.packed(rows)).split(16)
        return torch.cat([model.body(prepare(batch)).mean((2, 3)) for batch in batches]).numpy()

    regression.fit(features(task.train), task.labels[task.train])
    return lambda: regression.predict(features(task.test))


def fastai(task: Task) -> Trained:
    from fastai.vision import all as fast

    fast.set_seed(task.seed)
    rows = [*task.train, task.train[0]]  # fastai needs a validation set: one image, without effect
    block = fast.DataBlock(
        blocks=(fast.ImageBlock, fast.CategoryBlock),
        get_x=lambda row: np.array(task.opened(row)),
        get_y=lambda row: task.classes[task.labels[row]],
        splitter=fast.IndexSplitter([len(rows) - 1]),
        item_tfms=fast.Resize(SIZE_PX),
        batch_tfms=[*fast.aug_transforms(), fast.Normalize.from_stats(MEAN, STD)],
    )
    data = block.dataloaders(rows, bs=64, num_workers=0)
    model = task.network("native").to(memory_format=torch.contiguous_format)
    network = nn.Sequential(model.body, model.head)
    learner = fast.Learner(
        data,
        network,
        loss_func=fast.CrossEntropyLossFlat(),
        splitter=lambda m: [fast.params(m[0]), fast.params(m[1])],
    )
    learner.freeze()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
    order = [task.classes.index(name) for name in data.vocab]

    def predict() -> np.ndarray:
        test = data.test_dl([np.array(task.opened(row)) for row in task.test])
        with learner.no_bar():
            probabilities, _ = learner.get_preds(dl=test)
        return np.array(order)[probabilities.argmax(1).numpy()]

    return predict


METHODS: dict[str, Method] = {
    "ours": ours,
    "tutorial": tutorial,
    "probe": probe,
    "fastai": fastai,
}
CHANGED = "changed"


def tasks(files: images.Files, backbone: str, weights: str, options: argparse.Namespace):
    """Yield the number of the fold and the task, for every seed and fold."""
    classes = sorted(set(files.labels))
    labels = pd.Index(classes).get_indexer(files.labels)
    state = pretrained.fetch_weights(weights, backbone)
    for seed in options.seeds:
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for fold, (train, test) in enumerate(folds.split(labels, labels, files.groups), start=1):
            if fold in options.folds:
                yield fold, Task(files, train, test, classes, labels, backbone, state, seed)


def corrected_interval(differences: np.ndarray, test_to_train: float) -> tuple[float, float]:
    """Return mean and half-width of the 95 % confidence interval of a paired difference over
    repeated folds, whose training sets overlap (Nadeau & Bengio 2003, Machine Learning 52)."""
    n = len(differences)
    spread = np.sqrt((1 / n + test_to_train) * differences.var(ddof=1))
    return float(differences.mean()), float(stats.t.ppf(0.975, n - 1) * spread)


def report(table: pd.DataFrame, first: str) -> None:
    accuracy = table.pivot(index=["seed", "fold"], columns="method", values="accuracy")
    seconds = table.pivot(index=["seed", "fold"], columns="method", values="seconds")
    print(f"\n{'':9} accuracy: mean    sd    min    max    n  seconds: median  of the tutorial's")
    for method in accuracy:
        a, s = accuracy[method].dropna(), seconds[method].dropna()
        ratio = ""
        if "tutorial" in seconds:
            ratio = f"{(s / seconds.tutorial).median():.2f}"
        print(
            f"{method:9} {a.mean():14.3f} {a.std():5.3f} {a.min():6.3f} {a.max():6.3f} {len(a):4}"
            f"  {s.median():15.1f}  {ratio:>17}"
        )
    for other in accuracy.columns.drop(first, errors="ignore") if first in accuracy else ():
        differences = (accuracy[first] - accuracy[other]).dropna().to_numpy()
        if len(differences) > 1:
            mean, half = corrected_interval(differences, 1 / 4)
            print(f"{first} − {other}: {mean:+.3f} ± {half:.3f} (95 %, n = {len(differences)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("real", "drawn"), default="real")
    parser.add_argument("--backbone", help="default: mobilenet_v2 (real), mobilenet_v3_small")
    parser.add_argument("--weights", help="default: ImageNet's for mobilenet_v2, drawn for others")
    parser.add_argument("--only", nargs="+", choices=[*METHODS, CHANGED], default=list(METHODS))
    add_setting(parser)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--folds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--csv", type=Path, help="file for all rows")
    parser.add_argument(
        "--report", nargs="+", type=Path, help="measure nothing, report the rows of --csv files"
    )
    options = parser.parse_args()
    if options.report:
        report(pd.concat(map(pd.read_csv, options.report)), options.only[0])
        return
    if (CHANGED in options.only) != bool(options.setting):
        parser.error(f"--only {CHANGED} and --setting NAME=VALUE go together")
    changes = dict(options.setting)
    changed_recipe(parser, changes)
    methods = METHODS | {CHANGED: partial(ours, **changes)}
    device.pick_device("cpu")
    if options.data == "real" and not images.REAL.is_dir():
        sys.exit(f"there is no {images.REAL}: take --data drawn")
    default = "mobilenet_v2" if options.data == "real" else "mobilenet_v3_small"
    backbone = options.backbone or default
    weights = options.weights or (str(images.IMAGENET) if backbone == "mobilenet_v2" else "drawn")
    files = images.real() if options.data == "real" else images.drawn(DRAW_SEED, 60)
    print(
        f"{len(files.jpegs)} {options.data} images, {backbone} from {Path(weights).stem}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    rows = []
    for turn, (fold, task) in enumerate(tasks(files, backbone, weights, options)):
        for shift in range(len(options.only)):
            method = options.only[(turn + shift) % len(options.only)]
            started = time.perf_counter()
            predict = methods[method](copy.copy(task))
            seconds = time.perf_counter() - started
            rows.append(
                {
                    "seed": task.seed,
                    "fold": fold,
                    "method": method,
                    "accuracy": task.score(predict()),
                    "seconds": seconds,
                }
            )
            print(
                "seed {seed} fold {fold} {method:9} {accuracy:.3f} {seconds:6.1f} s".format(
                    **rows[-1]
                ),
                flush=True,
            )
            if options.csv:
                pd.DataFrame(rows).to_csv(options.csv, index=False)
    report(pd.DataFrame(rows), options.only[0])


if __name__ == "__main__":
    main()
