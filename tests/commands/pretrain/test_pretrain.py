"""Pretraining on few creatures: interrupted runs end with the same bytes; bad input is refused."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pokecam.commands.pretrain import pretrain as pretrain_module
from pokecam.commands.pretrain.distortion import Distortion, distort, windows
from pokecam.commands.pretrain.menagerie import (
    Menagerie,
    contact_sheet,
    render_view,
    rendering,
    view_path,
)
from pokecam.commands.pretrain.pretrain import PretrainRecipe, pretrain, rate_factor, view_of
from pokecam.common.errors import InputError
from pokecam.data.drawn import nuisances
from pokecam.networks import backbones, pretrained, quantised, safetensors_file
from pokecam.networks.classifier import MEAN, STD
from tests.conftest import PROJECT

RECIPE = PretrainRecipe(rounds=2, batch=4, view_px=(32, 40), warm_up=1, fall=0.5)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def save_after_every_round(monkeypatch):
    monkeypatch.setattr(pretrain_module, "SAVE_EVERY", 1)
    monkeypatch.setattr(pretrain_module, "SNAPSHOT_EVERY", 1)


@pytest.fixture(scope="module")
def menagerie() -> Menagerie:
    settings = nuisances.read_settings(PROJECT / "pretrained" / "scenes.yaml")
    return Menagerie(families=2, members=2, views=2, size_px=48, seed=3, settings=settings)


@pytest.fixture(scope="module")
def images(menagerie, tmp_path_factory) -> Path:
    """A work folder with all images."""
    work = tmp_path_factory.mktemp("work")
    for view in range(menagerie.views):
        (work / menagerie.key).mkdir(exist_ok=True)
        render_view(menagerie, work / menagerie.key, view)
    return work


def run(
    images: Path, menagerie, tmp_path: Path, recipe: PretrainRecipe = RECIPE, report=lambda *_: None
):
    work = tmp_path / "run"
    work.mkdir(parents=True, exist_ok=True)
    if not (work / menagerie.key).exists():
        (work / menagerie.key).symlink_to(images / menagerie.key)
    return pretrain("mobilenet_v3_small", recipe, menagerie, work, CPU, workers=1, report=report)


def test_an_interrupted_run_ends_with_the_same_weights(images, menagerie, tmp_path):
    def interrupt(_: str, rounds: int) -> None:
        if rounds == 1:
            raise KeyboardInterrupt

    straight = run(images, menagerie, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(images, menagerie, tmp_path / "b", report=interrupt)
    # The report comes before the checkpoint, so the round is lost and repeated.
    resumed = run(images, menagerie, tmp_path / "b")
    again = run(images, menagerie, tmp_path / "b")
    assert straight.keys() == resumed.keys() == again.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def test_the_weights_fit_the_backbone_and_have_moved(images, menagerie, tmp_path):
    state = run(images, menagerie, tmp_path)
    body, _ = backbones.split("mobilenet_v3_small", n_classes=2)
    body.load_state_dict(state)
    torch.manual_seed(RECIPE.seed)
    network = pretrain_module.PretrainNetwork("mobilenet_v3_small", menagerie.n_creatures, [2])
    initial = network.body.state_dict()
    assert not torch.equal(state["features.0.0.weight"], initial["features.0.0.weight"])
    snapshots = sorted(path.name for path in (tmp_path / "run").glob("*-0*.safetensors"))
    assert snapshots == [
        "mobilenet_v3_small-0001.safetensors",
        "mobilenet_v3_small-0002.safetensors",
    ]


def test_a_network_without_batchnorm_is_trained_with_it_and_saved_without(
    images, menagerie, tmp_path
):
    def run_alexnet(report=lambda *_: None):
        recipe = replace(RECIPE, view_px=(64, 64))
        return pretrain("alexnet", recipe, menagerie, tmp_path, CPU, workers=1, report=report)

    def interrupt(_: str, rounds: int) -> None:
        if rounds == 2:
            raise KeyboardInterrupt

    (tmp_path / menagerie.key).symlink_to(images / menagerie.key)
    with pytest.raises(KeyboardInterrupt):
        run_alexnet(interrupt)
    checkpoint = torch.load(tmp_path / "alexnet.pt", weights_only=True)
    assert "body.features.0.1.running_mean" in checkpoint[0]
    state = run_alexnet()
    snapshot, _ = safetensors_file.read_safetensors(tmp_path / "alexnet-0002.safetensors")
    body, _ = backbones.split("alexnet", n_classes=2)
    body.load_state_dict(state)
    assert snapshot.keys() == state.keys() == body.state_dict().keys()


def test_another_recipe_in_the_same_folder_is_refused(images, menagerie, tmp_path):
    run(images, menagerie, tmp_path)
    with pytest.raises(InputError, match="another recipe"):
        run(images, menagerie, tmp_path, replace(RECIPE, batch=2))


def test_the_file_holds_the_averaged_weights(images, menagerie, tmp_path):
    work = tmp_path / "run"
    state = run(images, menagerie, tmp_path)
    output = tmp_path / "weights.safetensors"
    pretrain_module.write_weights(
        "mobilenet_v3_small", RECIPE, menagerie, output=output, work=work, device=CPU, workers=1
    )
    back = quantised.load_quantised(output)
    assert all(torch.allclose(back[name], state[name], rtol=1e-3, atol=1e-6) for name in state)


@pytest.mark.parametrize("backbone", pretrain_module.SHIPPED)
def test_shipped_weights_fit_and_hold_their_recipe(backbone):
    path = PROJECT / "pretrained" / f"{backbone}.safetensors"
    state = pretrained.fetch_weights("drawn", backbone, path.parent)
    backbones.split(backbone, n_classes=2)[0].load_state_dict(state)
    _, note = safetensors_file.read_safetensors(path)
    recipe = json.loads(note["recipe"], object_hook=lambda d: d | {"view_px": tuple(d["view_px"])})
    assert recipe == asdict(pretrain_module.SHIPPED[backbone])


def test_shipped_weights_are_small():
    files = list((PROJECT / "pretrained").glob("*.safetensors"))
    assert {path.stem for path in files} == set(pretrain_module.SHIPPED)
    assert sum(path.stat().st_size for path in files) < 51e6


def test_images_are_decided_by_the_seed(menagerie):
    genome = menagerie.genomes()[1]
    image = menagerie.image(1, genome, 0)
    assert image.shape == (48, 48, 3)
    assert (image == menagerie.image(1, genome, 0)).all()
    assert (image != menagerie.image(1, genome, 1)).any()
    assert menagerie.key == replace(menagerie, views=9).key != replace(menagerie, seed=4).key


def test_a_contact_sheet_has_a_row_for_each_family(menagerie):
    sheet = contact_sheet(menagerie, families=2, views=2)
    assert sheet.shape == (2 * 48, 4 * 48, 3)
    second_member, first_view = menagerie.image(1, menagerie.genomes()[1], 0), slice(2 * 48, 3 * 48)
    assert (sheet[:48, first_view] == second_member).all()


def test_traits_name_the_kinds(menagerie):
    kinds, counts = menagerie.traits()
    assert kinds.shape == (menagerie.n_creatures, len(counts))
    assert (kinds < counts).all()
    assert (kinds >= 0).all()


def test_views_are_rendered_in_processes(menagerie, images, tmp_path):
    with rendering(menagerie, tmp_path, workers=2) as images_of:
        for view in reversed(range(menagerie.views)):
            expected = np.load(view_path(images / menagerie.key, view))
            assert np.array_equal(images_of(view), expected)


def test_a_failure_in_rendering_reaches_the_reader(menagerie, tmp_path):
    broken = replace(menagerie, settings=None)
    expected = pytest.raises(AttributeError, match="'NoneType' object has no attribute")
    with expected, rendering(broken, tmp_path, workers=1) as images_of:
        images_of(0)


def test_the_rate_stays_and_falls():
    assert rate_factor(0.0, 0.4) == rate_factor(0.6, 0.4) == 1
    assert rate_factor(0.8, 0.4) == pytest.approx(0.5)
    assert rate_factor(1.0, 0.4) == pytest.approx(0, abs=1e-12)


def test_early_rounds_need_few_views_and_late_ones_all():
    assert [view_of(rounds, 24) for rounds in range(8)] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert {view_of(rounds, 24) for rounds in range(100, 124)} == set(range(24))
    assert max(view_of(rounds, 3) for rounds in range(20)) == 2


def test_a_view_without_distortion_is_the_image():
    none = Distortion(
        area=(1, 1), aspect=1, turn_deg=0, brightness=0, contrast=0, saturation=0, tint=0,
        grey=0, blur=0, hole=0,
    )  # fmt: skip
    pixels = torch.randint(0, 256, (6, 20, 20, 3), dtype=torch.uint8)
    views = distort(pixels, 20, torch.Generator().manual_seed(0), none)
    mean, std = (torch.tensor(rgb).view(3, 1, 1) for rgb in (MEAN, STD))
    restored = ((views * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    for view, image in zip(restored, pixels, strict=True):
        assert torch.equal(view, image) or torch.equal(view, image.flip(1))


def test_windows_turn_without_shear():
    distortion = Distortion(area=(0.25, 0.25), aspect=1, turn_deg=30)
    matrix = windows(100, distortion, torch.Generator().manual_seed(0))[:, :, :2]
    determinant = torch.linalg.det(matrix)
    assert torch.allclose(determinant.abs(), torch.tensor(0.25), atol=1e-6)
    assert 20 < (determinant < 0).sum() < 80  # mirrored
    across, down = matrix.unbind(dim=2)
    assert torch.allclose((across * down).sum(dim=1), torch.zeros(100), atol=1e-6)
    turn = torch.atan2(across[:, 1], across[:, 0].abs())
    assert math.radians(20) < turn.abs().max() <= math.radians(30) + 1e-6


def test_views_are_the_same_for_the_same_generator():
    pixels = torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8)
    before = pixels.clone()
    first, second = (distort(pixels, 16, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(pixels, before)
    assert first.shape == (8, 3, 16, 16)
    assert first.isfinite().all()
