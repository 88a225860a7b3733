"""Where the time of a run on a GPU goes, and what the card could do.

    python benchmarks/gpu.py                            # at most eight minutes
    python benchmarks/gpu.py --quick --limit 170 --output results
    python benchmarks/gpu.py --small --device cpu       # only whether everything runs

Needs no DVC and no data: it draws its images. Each part runs in a process of its own with a limit
of its own, and a part that fails does not end the others. All figures are lines of JSON in
`figures.jsonl`, profiles are in `profiles.txt`; the table comes last.

    start           seconds of imports, CUDA context and first operations, in two new processes, and
                    which packages the imports of the train stage consist of
    run             all stages of the default run, one after another, and their sum
    resnet50        the weights and train stages with another backbone
    all images      the cam and judge stages with five methods and all test images
    many            `fit` on generated images of many classes
    steps           milliseconds of a training step: its operations started one by one; as in the
                    pipeline, which replays it as a CUDA graph; and the bare graph, of one input
                    that stays on the device. Losses, and whether two runs give the same weights
    train, judge    the stages, with the seconds of their functions, and a profile
    maps            in milliseconds, of 64 images: forward passes, maps of ten classes, heatmaps, in
                    several precisions; how far maps are from those in float32
    batches         images per second of a network, of removing pixels and of filling them in, by
                    the number of changed images at once
    pretraining     images per second of `pokecam pretrain`, with views of both sizes
    tests           the tests that compare a GPU with the CPU, if pytest is installed
"""

import argparse
import cProfile
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pstats
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

STARTED = time.time()
PROJECT = Path(__file__).resolve().parents[1]
FIGURES, PROFILES, LOG = "figures.jsonl", "profiles.txt", "log.txt"
STAGES = ("check", "download", "select", "split", "weights", "train", "evaluate", "cam", "judge")
STAGES += ("report",)
FIVE_METHODS = ["cam", "grad_cam", "finer_cam", "layer_cam", "hires_cam"]
CLASSES = [str(i) for i in range(10)]
MAP_NETWORKS = ("resnet50", "mobilenet_v3_small", "vgg16")
LAYERS = {"resnet50": "layer4", "mobilenet_v3_small": "features", "vgg16": "features.29"}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        params: changed parameters of the pipeline.
        networks: networks of `steps` and `batches`.
        batch_sizes: images of a step.
        steps: steps of an epoch, as many as are timed at once.
        image_px: side of an image.
        map_networks: networks of `maps`.
        images: images of `maps`.
        many: images, classes and epochs of `many`.
        at_once: changed images at once in `batches`.
        pretraining: backbone, families of creatures, and rounds of `pretraining`.
        pretraining_recipe: what differs from the recipe of the backbone.
        rounds: how often a figure is measured.
    """

    params: dict
    networks: tuple[str, ...] = ("mobilenet_v3_small", "resnet50")
    batch_sizes: tuple[int, ...] = (16, 64)
    steps: int = 20
    image_px: int = 224
    map_networks: tuple[str, ...] = MAP_NETWORKS
    images: int = 64
    many: tuple[int, int, int] = (9000, 150, 8)
    at_once: tuple[int, ...] = (16, 64, 256, 512, 1024)
    pretraining: tuple[str, int, int] = ("vgg16", 150, 10)
    pretraining_recipe: dict = field(default_factory=dict)
    rounds: int = 5


SIZES = {
    "whole": Sizes({}),
    "quick": Sizes({"images_per_class": 16, "judge_images": 8, "epochs": 8}),
    "small": Sizes(
        {
            "classes": ["Bulbasaur", "Ivysaur", "Pikachu"],
            "lookalikes": [["Bulbasaur", "Ivysaur"]],
            "images_per_class": 6,
            "image_size": 64,
            "epochs": 1,
            "judge_images": 2,
            "judge_measures": ["faithfulness", "localization", "parts", "lookalikes"],
        },
        networks=("mobilenet_v3_small",),
        batch_sizes=(4,),
        steps=2,
        image_px=64,
        map_networks=("mobilenet_v3_small",),
        images=2,
        many=(12, 3, 1),
        at_once=(2, 4),
        pretraining=("mobilenet_v3_small", 2, 4),
        pretraining_recipe={"batch": 4, "view_px": (32, 40)},
        rounds=1,
    ),
}


@dataclass(frozen=True)
class Context:
    """What a part is given.

    Attributes:
        sizes: how much is measured.
        device: a name in `device.DEVICES`.
        output: folder of the figures.
        workplace: folder in which the stages run.
        part: name of the part.
    """

    sizes: Sizes
    device: str
    output: Path
    workplace: Path
    part: str

    def figure(self, name: str, value: object, unit: str = "") -> None:
        """Record one figure."""
        row = {"part": self.part, "name": name, "value": value, "unit": unit}
        with (self.output / FIGURES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def text(self, title: str, text: str) -> None:
        with (self.output / PROFILES).open("a", encoding="utf-8") as file:
            file.write(f"\n==== {self.part}: {title}\n{text}\n")

    @contextmanager
    def go_on(self, name: str) -> Iterator[None]:
        """Record an error as a figure, and go on."""
        try:
            yield
        except Exception as error:
            last = str(error).strip().splitlines()
            self.figure(name, f"{type(error).__name__}: {last[0][:150] if last else ''}", "failed")
            self.text(name, traceback.format_exc())


# Starting ----------------------------------------------------------------------------------------

START = """
import time; t = time.perf_counter(); stamps = []
def stamp(name):
    global t
    now = time.perf_counter(); stamps.append((name, now - t)); t = now
import numpy, pandas; stamp("import numpy, pandas")
import torch; stamp("import torch")
import torchvision; stamp("import torchvision")
import torch._dynamo; stamp("import torch._dynamo")
import sklearn.metrics; stamp("import sklearn.metrics")
import stages.train; stamp("import stages.train, the rest")
import stages.judge; stamp("import stages.judge, the rest")
device = {device!r}
cuda = device != "cpu" and torch.cuda.is_available(); stamp("cuda.is_available")
device = "cuda" if cuda else "cpu"
def wait(name):
    if cuda: torch.cuda.synchronize()
    stamp(name)
x = torch.zeros(1, device=device); wait("context, first tensor")
(x + 1).item(); wait("first kernel")
m = torch.randn(64, 64, device=device); (m @ m).sum().item(); wait("first matrix product")
conv = torch.nn.Conv2d(3, 16, 3).to(device); image = torch.randn(16, 3, 160, 160, device=device)
conv(image).sum().item(); wait("first convolution")
conv(image).sum().backward(); wait("first gradient of a convolution")
with torch.autocast(device, torch.bfloat16): conv(image).float().sum().backward()
wait("first in bfloat16")
import json; print("STAMPS" + json.dumps(stamps))
"""


def part_start(context: Context) -> None:
    command = [sys.executable, "-c", START.replace("{device!r}", repr(context.device))]
    for name in ("first", "again"):
        if name == "again":
            importing = subprocess.Popen(
                [sys.executable, "-X", "importtime", "-c", "import stages.train"],
                cwd=PROJECT,
                stderr=subprocess.PIPE,
                text=True,
            )
            reader = ThreadPoolExecutor(1).submit(importing.communicate)
        started = time.perf_counter()
        run = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
        whole = time.perf_counter() - started
        if run.returncode:
            raise RuntimeError(run.stderr[-500:])
        stamps = json.loads(run.stdout.rpartition("STAMPS")[2])
        for what, seconds in [*stamps, ("begin and end", whole - sum(s for _, s in stamps))]:
            context.figure(f"{name}: {what}", round(seconds, 2), "s")
    with context.go_on("imports"):
        lines = reader.result()[1]
        rows = re.findall(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)", lines)
        seconds_of: dict[str, float] = {}
        for itself, _, _, module in rows:
            package = module.split(".")[0]
            if module.startswith(("torch._", "torch.")):
                package = ".".join(module.split(".")[:2])
            seconds_of[package] = seconds_of.get(package, 0) + int(itself) / 1e6
        longest = sorted(seconds_of.items(), key=lambda pair: -pair[1])[:12]
        text = ", ".join(f"{package} {seconds:.2f}" for package, seconds in longest)
        context.figure(f"imports of train, {sum(seconds_of.values()):.1f} s", text, "s")
        whole_of = sorted(rows, key=lambda row: -int(row[1]))[:60]
        lines = [f"{int(total) / 1e6:8.2f} s {module}" for _, total, _, module in whole_of]
        context.text("imports, with all that they import", "\n".join(lines))


# Stages ------------------------------------------------------------------------------------------


def make_workplace(folder: Path, sizes: Sizes, device: str) -> None:
    """Make a folder in which stages run as in the project, with changed parameters."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "datasets", "pokecam", "pretrained"):
        if (PROJECT / name).exists():
            (folder / name).symlink_to(PROJECT / name)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    changed = params | sizes.params | {"device": device}
    (folder / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def run_stage(context: Context, stage: str) -> None:
    """Run a stage as a process of its own, as DVC does, and record its seconds."""
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=context.workplace,
        env=os.environ | {"PYTHONPATH": paths()},
        check=False,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise RuntimeError(run.stderr[-600:])
    context.figure(f"stage {stage}", round(time.perf_counter() - started, 1), "s")


def paths() -> str:
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))


def part_run(context: Context) -> None:
    started = time.perf_counter()
    for stage in STAGES:
        with context.go_on(f"stage {stage}"):
            run_stage(context, stage)
    context.figure("all stages", round(time.perf_counter() - started, 1), "s")


@contextmanager
def changed(context: Context, **changes: object) -> Iterator[None]:
    """Change parameters of the workplace for a while."""
    import yaml

    path = context.workplace / "params.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(yaml.safe_dump(yaml.safe_load(before) | changes, sort_keys=False), "utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def part_resnet50(context: Context) -> None:
    with changed(context, backbone="resnet50", weights="none"):
        for stage in ("weights", "train"):
            run_stage(context, stage)
    for stage in ("weights", "train"):  # for the parts after this one
        run_stage(context, stage)


def part_all_images(context: Context) -> None:
    with changed(context, cam_methods=FIVE_METHODS, judge_images=10**6):
        for stage in ("cam", "judge"):
            run_stage(context, stage)
    run_stage(context, "cam")  # for the parts after this one


def part_many(context: Context) -> None:
    import numpy as np

    from pokecam.common.params import read_params
    from pokecam.networks.device import pick_device
    from pokecam.training import fit
    from pokecam.training.settings import Recipe, TrainSettings
    from pokecam.training.trainer import LabelledImages

    n, n_classes, epochs = context.sizes.many
    side, params = context.sizes.image_px, PROJECT / "params.yaml"
    on = pick_device(context.device)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    images = LabelledImages(pixels, np.arange(n), np.arange(n) % n_classes)
    val = LabelledImages(pixels, images.rows[: n // 5], images.labels[: n // 5])
    changes = {"backbone": "resnet50", "epochs": epochs}
    settings = read_params(TrainSettings, params).model_copy(update=changes)
    recipe = read_params(Recipe, params).model_copy(update=changes)
    classes = [str(number) for number in range(n_classes)]
    started = time.perf_counter()
    classifier = fit.start(settings, classes, side, {}, 0).to(on)
    fit.fit(classifier, images, val, recipe, pretrained=True)
    context.figure(
        f"resnet50, {n} images of {n_classes} classes, {epochs} epochs",
        round(time.perf_counter() - started, 1),
        "s",
    )


class Watch:
    """Seconds of functions, and a profile of what they do."""

    def __init__(self) -> None:
        self.profile, self.profile_of_one = cProfile.Profile(), cProfile.Profile()
        self.seconds: dict[str, list[float]] = {}

    def time(self, path: str, *, apart: bool = False, waits: int = 10**9) -> None:
        """Replace a function by one whose calls are timed.

        Args:
            path: module, class if it is a method, and name.
            apart: whether it is left out of the profile. Its second call has a profile of its own.
            waits: how many of the calls wait for the GPU at their end.
        """
        owner, _, name = path.rpartition(".")
        module, _, class_name = owner.partition(":")
        place = importlib.import_module(module)
        place = getattr(place, class_name) if class_name else place
        function = getattr(place, name)
        calls = self.seconds.setdefault(f"{class_name or module.rpartition('.')[2]}.{name}", [])

        @functools.wraps(function)
        def timed(*args: object, **options: object) -> object:
            if apart:
                self.profile.disable()
                if len(calls) == 1:
                    self.profile_of_one.enable()
            started = time.perf_counter()
            try:
                result = function(*args, **options)
                if len(calls) < waits:
                    wait()
                return result
            finally:
                calls.append(time.perf_counter() - started)
                if apart:
                    self.profile_of_one.disable()
                    self.profile.enable()

        setattr(place, name, timed)

    def report(self, context: Context) -> None:
        for name, calls in self.seconds.items():
            if calls:
                first = f", first {calls[0]:.2f}, then {statistics.median(calls[1:] or [0]):.4f}"
                more = f" ({len(calls)} calls{first})" if len(calls) > 1 else ""
                context.figure(f"{name}{more}", round(sum(calls), 2), "s")
        for title, profile in (("profile", self.profile), ("second call", self.profile_of_one)):
            for order, n in (("cumulative", 70), ("tottime", 35)):
                text = io.StringIO()
                try:
                    pstats.Stats(profile, stream=text).sort_stats(order).print_stats(n)
                except TypeError:  # nothing was profiled
                    continue
                lines = [
                    re.sub(r"/\S*/(site-packages|lib/python3\.\d+)/", "", line)
                    for line in text.getvalue().splitlines()
                ]
                context.text(f"{title}, {order}", "\n".join(lines))


def wait() -> None:
    """Wait for the GPU, if there is one in use."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def watched_stage(
    context: Context,
    stage: str,
    functions: list[str],
    apart: list[str],
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Run a stage in this process, with the seconds of functions, and a profile."""
    os.chdir(context.workplace)
    context.figure("process until its first line", round(STARTED - created(), 2), "s")
    marks = [time.perf_counter()]
    importlib.import_module("torch")
    importlib.import_module("torchvision")
    marks.append(time.perf_counter())
    context.figure("import torch, torchvision", round(marks[1] - marks[0], 2), "s")
    main = importlib.import_module(f"stages.{stage}").main
    marks.append(time.perf_counter())
    context.figure("import the rest", round(marks[2] - marks[1], 2), "s")
    prepare()
    watch = Watch()
    for path in functions:
        with context.go_on(path):
            watch.time(path, apart=path in apart, waits=3 if path.endswith("Step.run") else 10**9)
    marks.append(time.perf_counter())
    watch.profile.enable()
    try:
        main()
    finally:
        watch.profile.disable()
        context.figure("main", round(time.perf_counter() - marks[3], 2), "s")
        watch.report(context)
        context.figure("first line to here", round(time.time() - STARTED, 2), "s")


def created() -> float:
    import psutil

    return psutil.Process().create_time()


def part_train(context: Context) -> None:
    trainer = "pokecam.training.trainer:Trainer"
    epochs = f"{trainer}.run_epoch"
    functions = [
        "pokecam.data.packed.images.load_packed",
        "pokecam.networks.pretrained.read_weights",
        "stages.train.start",
        "pokecam.cam.fitting.check_methods",
        "pokecam.networks.distributed.join_team",
        "pokecam.networks.classifier:Classifier.to",
        "pokecam.training.checkpoints.checkpoint_of",
        f"{trainer}.__init__",
        f"{trainer}._fit_last_layer",
        "pokecam.training.trainer.fit_linear",
        epochs,
        "pokecam.training.step:Step.run",
        "pokecam.training.fit.measure",
        "pokecam.training.fit.calibrate",
        f"{trainer}.save",
        "pokecam.networks.classifier.save_classifier",
    ]
    watched_stage(context, "train", functions, [epochs])


def part_judge(context: Context) -> None:
    tables, scores = "pokecam.judging.tables", "pokecam.judging.scores"
    faithfulness = "pokecam.judging.faithfulness"
    functions = [
        "stages.judge.load_case",
        *(f"{tables}.{name}" for name in ("score", "compare_lookalikes", "classify_conditions")),
        *(f"{tables}.{name}" for name in ("summary", "paired_tests", "lookalike_summary")),
        f"{tables}.condition_summary",
        "pokecam.judging.sanity.compare_randomised",
        "pokecam.judging.sanity._maps",
        "pokecam.judging.sanity.ssim",
        *(f"{scores}.{name}" for name in ("heatmaps_of_predicted", "_localize", "score_parts")),
        *(f"{scores}.{name}" for name in ("_faithfulness", "find_ground_truth")),
        *(f"{faithfulness}.{name}" for name in ("order", "deletion_insertion", "road", "impute")),
        f"{faithfulness}.drop_and_increase",
        *(f"pokecam.judging.heatmaps.{name}" for name in ("capture", "compute_maps", "display")),
        "pokecam.judging.redrawing:_InProcesses.images",
        "pokecam.judging.redrawing:_InProcesses.differences",
        "pokecam.judging.case:Case.logits",
    ]
    watched_stage(context, "judge", functions, [], without_threads)


def without_threads() -> None:
    """Let `judge` work in the main thread, the only one that a profile sees."""
    import torch

    from pokecam.judging import parallel

    def at_once(function: Callable[[], object]) -> Future:
        future: Future = Future()
        future.set_result(function())
        return future

    @contextmanager
    def in_this_thread(_: object) -> Iterator[object]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield argparse.Namespace(map=map, submit=at_once)
        torch.set_num_threads(threads)

    parallel.thread_pool = in_this_thread


# Networks ----------------------------------------------------------------------------------------


def milliseconds(function: Callable[[], object], rounds: int, repeats: int = 1) -> float:
    """Return the median time of one repeat, after one round that warms up."""
    times = []
    for _ in range(rounds + 1):
        wait()
        started = time.perf_counter()
        for _ in range(repeats):
            function()
        wait()
        times.append((time.perf_counter() - started) / repeats * 1000)
    return statistics.median(times[1:])


@contextmanager
def arithmetic(*, deterministic: bool = True) -> Iterator[None]:
    """Set whether PyTorch takes only algorithms that give the same bits in every run. Memory is not
    filled, as in the pipeline."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True


def part_steps(context: Context, backbone: str) -> None:
    for batch_size in context.sizes.batch_sizes:
        with context.go_on(f"{batch_size} images"):
            measure_steps(context, backbone, batch_size)


def measure_steps(context: Context, backbone: str, batch_size: int) -> None:
    """Record the time of a training step in several forms."""
    import copy

    import numpy as np
    import torch

    from pokecam.common.params import read_params
    from pokecam.common.progress import Progress
    from pokecam.networks.device import Graphs, pick_device
    from pokecam.networks.distributed import SINGLE_PROCESS
    from pokecam.training import fit
    from pokecam.training.replay import WARM_UP
    from pokecam.training.settings import Recipe, TrainSettings
    from pokecam.training.trainer import LabelledImages, Trainer, TrainingState

    sizes, params = context.sizes, PROJECT / "params.yaml"
    on = pick_device(context.device)
    n = batch_size * sizes.steps
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, sizes.image_px, sizes.image_px, 3), dtype=np.uint8)
    labels = np.arange(n) % len(CLASSES)
    train = LabelledImages(images, np.arange(n), labels)
    changes = {"backbone": backbone, "batch_size": batch_size, "epochs": 3, "zoom_out": 0.0}
    recipe = read_params(Recipe, params).model_copy(update=changes)
    settings = read_params(TrainSettings, params).model_copy(update=changes)
    untrained = fit.start(settings, CLASSES, sizes.image_px, {}, 0).to(on)

    def record(name: str, ms: float) -> None:
        rate = f"{batch_size / ms * 1000:.0f} images/s"
        context.figure(f"{batch_size} images: {name}", f"{ms:.2f}", f"ms a step, {rate}")

    def trainer() -> Trainer:
        new = Trainer(
            copy.deepcopy(untrained),
            train,
            recipe,
            pretrained=False,
            team=SINGLE_PROCESS,
            checkpoint=None,
        )
        new.begin()
        return new

    def epochs(name: str, of: Trainer) -> tuple[float, str]:
        """Record the epochs of a trainer; return the loss of its first, and a hash of its
        weights after the last."""
        state, times, losses = TrainingState(), [], []
        with Progress(sizes.rounds + 1, enabled=False) as progress:
            for _ in range(sizes.rounds + 1):
                wait()
                started = time.perf_counter()
                losses.append(of.run_epoch(state, progress, lambda: False)[0])
                wait()
                times.append((time.perf_counter() - started) / sizes.steps * 1000)
                state.step, state.loss, state.hits = 0, 0.0, 0  # the same epoch again
        record(f"{name}, first epoch", times[0])
        record(name, statistics.median(times[1:]))
        digest = hashlib.sha256()
        for tensor in (*of.classifier.parameters(), *of.averaged.parameters()):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return losses[0], digest.hexdigest()[:12]

    plain = trainer()
    plain.run_step = plain.step.run
    results = {"started one by one": epochs("started one by one", plain)}
    if on.type == "cuda":
        for run in ("the pipeline", "the pipeline again"):
            results[run] = epochs(run, trainer())
    context.figure(
        f"{batch_size} images: loss of the first epoch; hash of the weights",
        "; ".join(f"{name}: {loss:.6f}, {digest}" for name, (loss, digest) in results.items()),
    )
    if on.type != "cuda":
        return
    with context.go_on(f"{batch_size} images: bare graph"):
        bare = trainer()
        step = bare.step
        side = step.view_px
        fixed = torch.randn(batch_size, 3, side, side, device=on)
        fixed = fixed.contiguous(memory_format=torch.channels_last)
        step.views = lambda rows, positions: fixed  # type: ignore[method-assign]
        rates = [bare.rate(1, number) for number in range(sizes.steps)]

        def begin() -> None:
            step.begin_epoch(bare._plan(1), rates)

        begin()
        graphs = Graphs()
        with graphs.warming_up():
            for _ in range(WARM_UP):
                step.run(batch_size)
        replay = graphs.capture(lambda: step.compute(batch_size))

        def epoch() -> None:
            begin()
            for _ in range(sizes.steps):
                replay()

        record("bare graph", milliseconds(epoch, sizes.rounds, 1) / sizes.steps)
    with context.go_on(f"{batch_size} images: kernels"):
        plain.step.begin_epoch(plain._plan(1), rates)
        kernels_of(context, lambda: plain.step.run(batch_size), f"{batch_size} images")


def kernels_of(context: Context, function: Callable[[], object], name: str, calls: int = 3) -> None:
    """Record the kernels of a function: how many, how long, and which ones take longest."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        function()
    wait()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(calls):
            function()
        wait()
    rows = [event for event in trace.key_averages() if event.self_device_time_total > 0]
    total = sum(event.self_device_time_total for event in rows) / calls / 1000
    n = sum(event.count for event in rows) / calls
    context.figure(f"{name}: {n:.0f} kernels", f"{total:.2f}", "ms of the GPU a call")
    rows.sort(key=lambda event: -event.self_device_time_total)
    lines = [
        f"{event.self_device_time_total / calls / 1000:8.3f} ms {event.count / calls:6.1f} × "
        f"{event.key[:150]}"
        for event in rows[:30]
    ]
    context.text(f"{name}, kernels a call", "\n".join(lines))


def prepared_network(backbone: str, head: str, image_px: int, on):
    """Build a network with random weights. Its BatchNorm follows random images, as after training,
    so that activations have their usual size."""
    import torch
    from torch import nn

    from pokecam.networks.classifier import build_classifier

    torch.manual_seed(0)
    network = build_classifier(backbone, head, CLASSES, image_px).to(on)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(8, 3, image_px, image_px, device=on)
            network(x.contiguous(memory_format=torch.channels_last))
    return network.eval()


def converted(network, dtype):
    """Return the network with a body of another type; the head stays in float32."""
    import copy

    body = copy.deepcopy(network.body).to(dtype)
    return network.with_halves(body, network.head).eval()


def part_maps(context: Context, backbone: str) -> None:
    import torch

    from pokecam.cam.anywhere import cut, heatmaps
    from pokecam.cam.capture import capture
    from pokecam.cam.folding import fold_batchnorm
    from pokecam.cam.maps import compute_maps
    from pokecam.networks.device import pick_device

    sizes = context.sizes
    on = pick_device(context.device)
    is_gpu = on.type == "cuda"
    side = sizes.image_px
    network = prepared_network(backbone, "gap", side, on)
    folded = fold_batchnorm(network)
    x = torch.randn(sizes.images, 3, side, side, device=on)
    x = x.contiguous(memory_format=torch.channels_last)
    half = torch.float16
    base = 0.0

    def record(name: str, function: Callable[[], object], rounds: int = sizes.rounds) -> float:
        with context.go_on(name):
            ms = milliseconds(function, rounds, 3 if is_gpu else 1)
            times = f", {ms / base:.2f} forward passes" if base else ""
            context.figure(name, f"{ms:.2f}", f"ms{times}")
            return ms
        return 0.0

    def forward(model, inputs):
        with torch.inference_mode():
            return model(inputs)

    def autocast(model, inputs, dtype):
        with torch.inference_mode(), torch.autocast(on.type, dtype):
            return model(inputs)

    def maps(model, inputs, method):
        return compute_maps(capture(model, inputs), method)

    arithmetic_32 = torch.backends.cudnn
    halves = {
        "network": converted(network, half),
        "folded": converted(folded, half),
        "bf16": converted(folded, torch.bfloat16),
    }
    xs = {"network": x.half(), "folded": x.half(), "bf16": x.bfloat16()}
    whole_half = network.with_halves(
        halves["folded"].body, __import__("copy").deepcopy(network.head).half()
    )
    with arithmetic():
        base = record("forward, float32 (TF32 in convolutions)", lambda: forward(network, x))
        arithmetic_32.allow_tf32 = False
        record("forward, float32 without TF32", lambda: forward(network, x))
        arithmetic_32.allow_tf32 = True
        record("forward, folded", lambda: forward(folded, x))
        record("forward, autocast float16", lambda: autocast(network, x, half))
        record("forward, converted float16", lambda: forward(halves["network"].body, xs["network"]))
        record("forward, folded converted", lambda: forward(whole_half, xs["folded"]))
        if is_gpu:
            for name, model, inputs in (
                ("float32", network, x),
                ("folded converted", whole_half, xs["folded"]),
            ):
                with context.go_on(f"graph of forward, {name}"):
                    replay = graph_of(lambda: forward(model, inputs))  # noqa: B023
                    record(f"graph of forward, {name}", replay)
        for method in ("cam", "grad_cam"):
            record(f"{method}, float32", lambda: maps(network, x, method))  # noqa: B023
            record(f"{method}, folded", lambda: maps(folded, x, method))  # noqa: B023
            record(
                f"{method}, folded converted float16",
                lambda: maps(halves["folded"], xs["folded"], method),  # noqa: B023
            )
    with arithmetic():
        arithmetic_32.allow_tf32 = False
        exact = {method: maps(network, x, method) for method in ("cam", "grad_cam")}
        arithmetic_32.allow_tf32 = True
        for name, model, inputs in (
            ("TF32", network, x),
            ("folded TF32", folded, x),
            ("folded converted float16", halves["folded"], xs["folded"]),
            ("folded converted bfloat16", halves["bf16"], xs["bf16"]),
        ):
            with context.go_on(f"difference, {name}"):
                raw = maps(model, inputs, "cam")
                share = (raw - exact["cam"]).abs().amax(dim=(2, 3)) / exact["cam"].abs().amax(
                    dim=(2, 3)
                )
                context.figure(
                    f"CAM, {name} − float32, of the maximum",
                    f"largest {float(share.max()):.1e}, median {float(share.median()):.1e}",
                )
        measure_display(context, record, network, x)
        with context.go_on("heatmaps"):
            record("heatmaps of the classifier, as they are", lambda: heatmaps(network, x), 1)
        with context.go_on("heatmaps of any network"):
            import torchvision

            model = torchvision.models.get_model(backbone, num_classes=10).to(on).eval()
            x_plain = x.contiguous()
            record("torchvision's forward", lambda: forward(model, x_plain))
            divided = cut(model, x_plain, LAYERS[backbone])
            record("heatmaps of any network, as they are", lambda: heatmaps(divided, x_plain), 1)
            record("maps of any network", lambda: maps(divided, x_plain, "grad_cam"))
        with context.go_on("pytorch-grad-cam"):
            import pytorch_grad_cam
            from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

            explainer = pytorch_grad_cam.GradCAM(model, [model.get_submodule(LAYERS[backbone])])
            targets = [ClassifierOutputTarget(0)] * len(x_plain)
            record("pytorch-grad-cam, one class", lambda: explainer(x_plain, targets), 1)
    if is_gpu:
        with context.go_on("kernels"), arithmetic():
            kernels_of(context, lambda: maps(folded, x, "grad_cam"), "grad_cam")


def measure_display(context: Context, record: Callable, network, x) -> None:
    """Record the ways from raw maps to heatmaps in the memory of the host."""
    import torch

    from pokecam.cam.capture import capture
    from pokecam.cam.device_display import display_on_device
    from pokecam.cam.display import display
    from pokecam.cam.maps import compute_maps

    side = x.shape[-1]
    raw = compute_maps(capture(network, x), "grad_cam")

    def on_device() -> torch.Tensor:
        return display_on_device(raw, side, side)

    expected = torch.from_numpy(display(raw.cpu().numpy(), side))
    difference = float((on_device().cpu() - expected).abs().max())
    context.figure("display on the device − on the host", f"{difference:.1e}")
    record("display on the host, from raw maps", lambda: display(raw.cpu().numpy(), side), 1)
    record("display on the device", on_device)
    record("… copied to the host", lambda: on_device().cpu())
    if raw.is_cuda:
        pinned = torch.empty(*raw.shape[:2], side, side, pin_memory=True)
        record("… to pinned memory", lambda: pinned.copy_(on_device(), non_blocking=True))


def graph_of(function: Callable[[], object]) -> Callable[[], None]:
    from pokecam.networks.device import Graphs

    graphs = Graphs()
    with graphs.warming_up():
        for _ in range(3):
            function()
    return graphs.capture(function)


def part_batches(context: Context, backbone: str) -> None:
    import torch

    from pokecam.cam.folding import fold_batchnorm
    from pokecam.cam.imputation import impute
    from pokecam.judging.faithfulness import order
    from pokecam.networks.device import pick_device

    sizes = context.sizes
    on = pick_device(context.device)
    is_gpu = on.type == "cuda"
    side = sizes.image_px
    folded = fold_batchnorm(prepared_network(backbone, "gap", side, on))
    half = converted(folded, torch.float16)
    columns: dict[str, list[str]] = {}

    def record(name: str, n: int, function: Callable[[], object]) -> None:
        with context.go_on(f"{name}, {n}"), torch.inference_mode():
            ms = milliseconds(function, 2, 2)
            columns.setdefault(name, []).append(f"{n}: {n / ms:.1f}")

    def by_value(values: torch.Tensor) -> torch.Tensor:
        return values.sort(dim=1, descending=True, stable=True).indices

    def of_half(x: torch.Tensor) -> torch.Tensor:
        return folded.head(half.body(x).float())

    with arithmetic():
        for n in sizes.at_once:
            x = torch.randn(n, 3, side, side, device=on)
            x = x.contiguous(memory_format=torch.channels_last)
            record("float32 (TF32)", n, lambda: folded(x))  # noqa: B023
            x_half = x.half()
            record("float16", n, lambda: of_half(x_half))  # noqa: B023
            if is_gpu:
                with context.go_on(f"graph, {n}"), torch.inference_mode():
                    record("float16, graph", n, graph_of(lambda: of_half(x_half)))  # noqa: B023
            if backbone != sizes.networks[0]:
                continue
            heat = torch.rand(n, side, side, device=on)
            removed = heat < 0.5
            record("filling in (impute)", n, lambda: impute(x, removed, 0.1))  # noqa: B023
            flat = heat.flatten(1)
            record("order, on the device", n, lambda: by_value(flat))  # noqa: B023

            def remove() -> torch.Tensor:
                limits = flat.new_full((n, 1), 0.5)  # noqa: B023
                mask = (flat < limits).view(n, 1, side, side)  # noqa: B023
                return torch.where(mask, x, 0)  # noqa: B023

            record("removing pixels by a threshold", n, remove)
            if n <= 64:
                maps = heat.cpu().numpy()
                record("order, as it is", n, lambda: order(maps))  # noqa: B023
            if is_gpu and n <= 256:
                with context.go_on(f"graph of impute, {n}"), torch.inference_mode():
                    record("impute, graph", n, graph_of(lambda: impute(x, removed, 0.1)))  # noqa: B023
    for name, values in columns.items():
        context.figure(name, ", ".join(values), "images/ms by images at once")


def part_pretraining(context: Context) -> None:
    from itertools import pairwise

    from pokecam.commands.pretrain import pretrain
    from pokecam.networks.device import pick_device

    backbone, families, rounds = context.sizes.pretraining
    changes = context.sizes.pretraining_recipe | {"rounds": rounds}
    recipe = replace(pretrain.shipped_recipe(backbone), **changes)
    menagerie = replace(pretrain.shipped_menagerie(), families=families, views=2)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        pretrain.pretrain(
            backbone,
            recipe,
            menagerie,
            Path(work),
            pick_device(context.device),
            os.cpu_count() or 1,
            lambda *_: ends.append(time.perf_counter()),
        )
    seconds = [end - start for start, end in pairwise(ends)]
    n_small = round(rounds * (1 - recipe.fall)) - 1  # the first round loads and chooses algorithms
    n_images = menagerie.n_creatures // recipe.batch * recipe.batch
    for side, durations in zip(recipe.view_px, (seconds[:n_small], seconds[n_small:]), strict=True):
        name = f"{backbone}, views of {side} px, {recipe.batch} images in a step"
        context.figure(name, round(n_images / statistics.median(durations), 1), "images/s")


def part_tests(context: Context) -> None:
    folders = ("tests/cam", "tests/training", "tests/judging")
    if importlib.util.find_spec("pytest") is None or not (PROJECT / folders[0]).is_dir():
        context.figure("not measured", "pytest, or the tests, are not there", "")
        return
    files = [f"{folder}/test_gpu.py" for folder in folders]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    *_, last = ["no output", *run.stdout.strip().splitlines()]
    context.figure("pytest", last, "failed" if run.returncode else "")
    context.text("pytest", run.stdout + run.stderr)


# Parts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of the benchmark, which runs in a process of its own.

    Attributes:
        function: does the work.
        limit_s: seconds after which it is ended.
    """

    function: Callable[[Context], None]
    limit_s: float


def parts(sizes: Sizes) -> dict[str, Part]:
    """Return all parts in the order in which they run."""
    return {
        "start": Part(part_start, 60),
        "run": Part(part_run, 150),
        "steps": Part(for_each(sizes.networks, part_steps), 60),
        "maps": Part(for_each(sizes.map_networks, part_maps), 50),
        "resnet50": Part(part_resnet50, 60),
        "many": Part(part_many, 90),
        "all images": Part(part_all_images, 90),
        "batches": Part(for_each(sizes.networks, part_batches), 40),
        "train": Part(part_train, 60),
        "judge": Part(part_judge, 60),
        "pretraining": Part(part_pretraining, 40),
        "tests": Part(part_tests, 90),
    }


def for_each(
    networks: tuple[str, ...], function: Callable[[Context, str], None]
) -> Callable[[Context], None]:
    """Return a part that runs a function for each network, in processes that share the imports."""

    def part(context: Context) -> None:
        import torchvision  # noqa: F401

        importlib.import_module("pokecam.judging.faithfulness")
        importlib.import_module("pokecam.training.fit")
        importlib.import_module("pokecam.cam.anywhere")
        for backbone in networks:
            named = replace(context, part=f"{context.part} {backbone}")
            child = os.fork()
            if child == 0:
                with named.go_on(backbone):
                    function(named, backbone)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code:
                named.figure("process", f"ended with {code}", "failed")

    return part


def run_part(name: str, part: Part, options: argparse.Namespace, end: float) -> None:
    """Run a part in a process of its own, at most until its limit or the end of all."""
    sizes = SIZES[options.size]
    context = Context(sizes, options.device, options.output, options.workplace, name)
    limit = min(part.limit_s * options.patience, end - time.monotonic())
    if limit < 3:
        context.figure("not run", "no time left", "")
        return
    started = time.monotonic()
    command = [sys.executable, __file__, "--part", name, "--output", str(options.output)]
    command += ["--device", options.device, "--size", options.size]
    command += ["--workplace", str(options.workplace)]
    with (options.output / f"{LOG}").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": paths(), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            outcome = "" if code == 0 else f"ended with {code}"
        except subprocess.TimeoutExpired:
            outcome = "reached its limit"
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.monotonic() - started
    context.figure("whole part", round(seconds, 1), f"s {outcome}".strip())
    print(f"{name}: {seconds:.1f} s {outcome}", flush=True)


def run_all(options: argparse.Namespace) -> None:
    """Run all parts and print the table."""
    end = time.monotonic() + options.limit
    sizes = SIZES[options.size]
    make_workplace(options.workplace, sizes, options.device)
    for name, part in parts(sizes).items():
        if not options.only or any(name.startswith(word) for word in options.only):
            run_part(name, part, options, end)
    print_table(options)


def print_table(options: argparse.Namespace) -> None:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    card = "no GPU"
    with suppress(OSError):
        card = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision")]
    print(f"\n{card}, {os.cpu_count()} cores, {', '.join(versions)}, {options.size}")
    path = options.output / FIGURES
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for part in dict.fromkeys(row["part"] for row in rows):
        print(f"\n{part}")
        for row in rows:
            if row["part"] == part:
                print(f"  {row['name']}: {row['value']} {row['unit']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="whole")
    for name in ("quick", "small"):
        parser.add_argument(f"--{name}", dest="size", action="store_const", const=name)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--limit", type=float, default=470, help="seconds of the whole")
    parser.add_argument("--patience", type=float, default=1, help="factor of all limits of parts")
    parser.add_argument("--only", nargs="+", help="first words of the names of parts")
    parser.add_argument("--output", type=Path, default=Path("gpu-results"))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--workplace", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.output = options.output.resolve()
    if options.part:
        sizes = SIZES[options.size]
        context = Context(
            sizes, options.device, options.output, options.workplace.resolve(), options.part
        )
        with context.go_on(options.part):
            parts(sizes)[options.part].function(context)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for name in (FIGURES, PROFILES, LOG):
        (options.output / name).unlink(missing_ok=True)
    folder = tempfile.mkdtemp()
    options.workplace = Path(folder, "workplace")
    try:
        run_all(options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
