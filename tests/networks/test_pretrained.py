"""Where pretrained weights come from, and the errors for those that do not fit."""

import hashlib
import os
import pickle
import re
import urllib.request

import pytest
import torch
import torchvision
import yaml
from torchvision.models import Weights, WeightsEnum

from pokecam.common.errors import InputError
from pokecam.networks import backbones, classifier, pretrained, quantised, safetensors_file
from pokecam.networks.settings import HEADS, SHIPPED, check_weights_exist, choose_weights
from tests.conftest import PROJECT

SMALL = "squeezenet1_1"
CLASSES = ("Ant", "Bee", "Cat")


def torchvision_state(name, n_classes=7, seed=0):
    torch.manual_seed(seed)
    return torchvision.models.get_model(name, weights=None, num_classes=n_classes).state_dict()


def saved(tmp_path, state, name="weights.pth"):
    path = tmp_path / name
    torch.save(state, path)
    return str(path)


def build(backbone, head="gap"):
    torch.manual_seed(1)
    return classifier.build_classifier(backbone, head, CLASSES, 64)


def test_none_is_an_empty_state_and_changes_nothing():
    assert pretrained.fetch_weights("none", SMALL) == {}
    model, unchanged = build(SMALL), build(SMALL)
    pretrained.apply_weights({}, model)
    assert all(map(torch.equal, model.parameters(), unchanged.parameters()))


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_a_file_gives_the_body_and_never_the_last_layer(tmp_path, head):
    state = torchvision_state("mobilenet_v3_small")
    fetched = pretrained.fetch_weights(saved(tmp_path, state), "mobilenet_v3_small")
    assert state.keys() - fetched.keys() == {"classifier.3.weight", "classifier.3.bias"}
    model = build("mobilenet_v3_small", head)
    last = model.last_layer.weight.clone()
    pretrained.apply_weights(fetched, model)
    original = torchvision.models.get_model("mobilenet_v3_small", num_classes=7).eval()
    original.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(model.eval().body(x), original.features(x), atol=1e-6)
    assert torch.equal(model.last_layer.weight, last)
    if head == "native":
        assert torch.equal(model.head.classifier[0].weight, state["classifier.0.weight"])


def test_safetensors_without_batch_counters_and_in_half_precision(tmp_path):
    state = torchvision_state("resnet18")
    half = {
        name: tensor.half()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "weights.safetensors"
    safetensors_file.write_safetensors(path, half, {})
    fetched = pretrained.fetch_weights(str(path), "resnet18")
    assert fetched["conv1.weight"].dtype == torch.float32
    assert torch.equal(fetched["conv1.weight"], half["conv1.weight"].float())
    assert fetched["bn1.num_batches_tracked"] == 0
    pretrained.apply_weights(fetched, build("resnet18"))


def test_a_state_nested_in_a_checkpoint(tmp_path):
    state = torchvision_state(SMALL)
    path = saved(tmp_path, {"state_dict": state, "epoch": 3})
    assert pretrained.fetch_weights(path, SMALL).keys() < state.keys()


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED = {  # how people save a network → (what is in the file, what the line says)
    "DataParallel": (lambda s: prefixed(s, "module."), "without the prefix module."),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), "without _orig_mod. in their names"),
    "compiled, parallel": (
        lambda s: prefixed(s, "module._orig_mod."),
        "without the prefix module. and without _orig_mod. in their names",
    ),
    "one compiled block": (
        lambda s: {n.replace("features.3.", "features.3._orig_mod."): t for n, t in s.items()},
        "without _orig_mod. in their names",
    ),
    "sharded": (
        lambda s: {
            n.replace("features.", "_fsdp_wrapped_module.features."): t for n, t in s.items()
        },
        "without _fsdp_wrapped_module. in their names",
    ),
    "Lightning": (
        lambda s: {
            "pytorch-lightning_version": "2.4.0",
            "state_dict": prefixed(s, "model.") | {"loss.weight": torch.ones(3)},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        },
        "state_dict, without the prefix model.; 1 other tensors are left out (loss.weight)",
    ),
    "backbone": (lambda s: prefixed(s, "backbone."), "without the prefix backbone."),
    "any name": (lambda s: prefixed(s, "net.encoder."), "without the prefix net.encoder."),
    "tutorial": (
        lambda s: {"epoch": 3, "model_state_dict": s, "optimizer_state_dict": {"state": {}}},
        "model_state_dict",
    ),
    "torchvision": (
        lambda s: {
            "model": s,
            "model_ema": prefixed({n: t + 1 for n, t in s.items()}, "module."),
            "args": {"lr": 0.1},
        },
        "model",
    ),
    "average only": (
        lambda s: {"ema": prefixed(s, "module.") | {"n_averaged": torch.tensor(5)}},
        "ema, without the prefix module.; 1 other tensors are left out (n_averaged)",
    ),
    "nested": (lambda s: {"checkpoint": {"state_dict": s}}, "checkpoint, state_dict"),
    "settings below the name of the model": (
        lambda s: {"model": {"depth": 18}, "network": {"layers": {}}, "weights": s},
        "weights",
    ),
}


NESTED = {  # dicts of dicts
    *("Lightning", "tutorial", "torchvision", "average only", "nested"),
    "settings below the name of the model",
}


@pytest.mark.parametrize(
    ("saved_by", "suffix"),
    [
        *((name, "pth") for name in WRAPPED),
        *((name, "safetensors") for name in sorted(WRAPPED.keys() - NESTED)),
    ],
)
def test_state_dicts_as_people_have_them(tmp_path, caplog, saved_by, suffix):
    """The very tensors, and a line that says how they were found."""
    state = torchvision_state(SMALL)
    content, line = WRAPPED[saved_by][0](state), WRAPPED[saved_by][1]
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(content, path)
    else:
        safetensors_file.write_safetensors(path, content, {})
    fetched = pretrained.fetch_weights(str(path), SMALL)
    body = {name for name in state if not name.startswith("classifier")}
    assert fetched.keys() == body
    assert all(torch.equal(fetched[name], state[name]) for name in body)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: the tensors are taken from it")
    assert line in message
    assert "\n" not in message


def test_two_networks_in_a_file_are_refused(tmp_path):
    """A student and its teacher: nothing says which of the two is meant."""
    state = torchvision_state(SMALL)
    teacher = {name: tensor + 1 for name, tensor in state.items()}
    path = saved(tmp_path, prefixed(state, "student.") | prefixed(teacher, "teacher."))
    with pytest.raises(InputError, match=re.escape(f"{path}: there are 2 networks of this back")):
        pretrained.fetch_weights(path, SMALL)
    # Another backbone: the two are no reason for another message.
    with pytest.raises(InputError, match="does not fit mobilenet_v3_large"):
        pretrained.fetch_weights(path, "mobilenet_v3_large")
    # The same network twice is one.
    path = saved(tmp_path, prefixed(state, "model.") | prefixed(state, "net."))
    assert pretrained.fetch_weights(path, SMALL)
    one_tensor = dict([teacher.popitem()])
    path = saved(tmp_path, prefixed(state, "student.") | prefixed(one_tensor, "teacher."))
    assert pretrained.fetch_weights(path, SMALL)


def test_a_plain_state_dict_needs_no_line(tmp_path, caplog):
    pretrained.fetch_weights(saved(tmp_path, torchvision_state(SMALL)), SMALL)
    assert not caplog.messages


def test_the_hidden_layers_of_a_head_below_a_prefix_are_used(tmp_path):
    state = torchvision_state("mobilenet_v3_small")
    path = saved(tmp_path, {"state_dict": prefixed(state, "model.")})
    fetched = pretrained.fetch_weights(path, "mobilenet_v3_small")
    assert torch.equal(fetched["classifier.0.weight"], state["classifier.0.weight"])


def test_the_error_for_prefixed_weights_of_another_backbone_names_it(tmp_path):
    state = prefixed(torchvision_state("resnet18"), "module.")
    for backbone in ("resnet50", "alexnet"):
        with pytest.raises(InputError, match="It fits resnet18: set backbone to that"):
            pretrained.fetch_weights(saved(tmp_path, state), backbone)


def test_of_two_states_the_one_with_all_tensors_is_taken(tmp_path):
    """An incomplete copy before the whole one, and layers of equal names below it."""
    state = torchvision_state("resnet18")
    head = {"old.conv1.weight": torch.zeros(64, 3, 7, 7), "old.bn1.weight": torch.zeros(64)}
    fetched = pretrained.fetch_weights(
        saved(tmp_path, head | prefixed(state, "model.")), "resnet18"
    )
    assert torch.equal(fetched["conv1.weight"], state["conv1.weight"])


def test_a_pickled_network_is_named_without_escape_codes(tmp_path):
    network = torchvision.models.get_model(SMALL, weights=None, num_classes=3)
    with pytest.raises(InputError) as error:
        pretrained.fetch_weights(saved(tmp_path, network), SMALL)
    message = str(error.value)
    assert message.isprintable()
    assert "torchvision.models.squeezenet.SqueezeNet" in message
    assert "a whole network" in message
    assert "two options" not in message


def test_missing_superfluous_and_misshapen_tensors_are_named(tmp_path):
    state = torchvision_state(SMALL)
    del state["features.0.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["features.0.bias"] = torch.zeros(3)
    with pytest.raises(InputError) as error:
        pretrained.fetch_weights(saved(tmp_path, state), SMALL)
    assert "1 missing tensors (features.0.weight)" in str(error.value)
    assert "1 superfluous tensors (extra.weight)" in str(error.value)
    assert "1 tensors of another shape (features.0.bias)" in str(error.value)


def test_many_names_are_cut_short_and_counted(tmp_path):
    state = {f"layer.{i}": torch.zeros(1) for i in range(30)}
    with pytest.raises(InputError, match=r"30 superfluous tensors \(layer\.0.* and 26 more\)"):
        pretrained.fetch_weights(saved(tmp_path, state), SMALL)


@pytest.mark.parametrize(("file", "backbone"), [("resnet18", "resnet50"), (SMALL, "alexnet")])
def test_the_error_for_weights_of_another_backbone_names_it(tmp_path, file, backbone):
    with pytest.raises(InputError, match=f"does not fit {backbone}: .* It fits {file}: set"):
        pretrained.fetch_weights(saved(tmp_path, torchvision_state(file)), backbone)


def test_hidden_layers_of_another_shape_are_left_out_with_a_warning(tmp_path, caplog):
    state = torchvision_state("mobilenet_v3_small")
    state["classifier.0.weight"] = torch.zeros(5, 576)
    fetched = pretrained.fetch_weights(saved(tmp_path, state), "mobilenet_v3_small")
    assert not any(name.startswith("classifier") for name in fetched)
    assert "classifier.0.bias, classifier.0.weight" in caplog.text


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = torchvision_state(SMALL)
    state["features.0.bias"][0] = float("nan")
    with pytest.raises(InputError, match=r"features\.0\.bias holds values that are not finite"):
        pretrained.fetch_weights(saved(tmp_path, state), SMALL)


class Hostile:
    """Unpickling this runs a command."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path, form, recwarn):
    witness, path = tmp_path / "was_run", tmp_path / "weights.pth"
    content = {"features.0.weight": Hostile(witness)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="give a state dict"):
        pretrained.fetch_weights(str(path), SMALL)
    assert not witness.exists()
    assert not recwarn.list


def test_files_from_before_version_1_6_are_read(tmp_path):
    state, path = torchvision_state(SMALL), tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert pretrained.fetch_weights(str(path), SMALL).keys() < state.keys()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"weights\.pth was not loaded: it is damaged"):
        pretrained.fetch_weights(str(path), SMALL)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02", b"PK\x03\x04 broken", b"\0" * 600])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_are_refused_in_one_line(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        pretrained.fetch_weights(str(path), SMALL)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {"state_dict": {"a": [1]}}])
def test_files_without_a_state_are_refused(tmp_path, content):
    with pytest.raises(InputError, match="holds no state dict"):
        pretrained.fetch_weights(saved(tmp_path, content), SMALL)


def test_a_misspelt_name_is_no_file():
    with pytest.raises(InputError, match="Did you mean imagenet"):
        pretrained.fetch_weights("imagnet", SMALL)


def test_drawn_weights_come_from_the_shipped_file(tmp_path):
    state = torchvision_state(SMALL)
    body = {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}
    quantised.save_quantised(body, tmp_path / f"{SMALL}.safetensors", {})
    fetched = pretrained.fetch_weights("drawn", SMALL, tmp_path)
    assert fetched.keys() == body.keys()
    error = (fetched["features.0.weight"] - body["features.0.weight"]).abs().max()
    assert error <= body["features.0.weight"].abs().max() / 127 / 2 * 1.001


def test_the_error_for_missing_drawn_weights_names_the_backbones_that_have_them(tmp_path):
    for name in ("resnet18", "mobilenet_v3_small"):
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(
        InputError, match=r"vgg16.*mobilenet_v3_small, resnet18.*weights=imagenet.*weights=none"
    ):
        pretrained.fetch_weights("drawn", "vgg16", tmp_path)


def test_auto_takes_what_is_shipped_and_else_imagenet(tmp_path, monkeypatch):
    for backbone, expected in {"vgg16": "drawn", "resnet34": "imagenet"}.items():
        assert choose_weights("auto", backbone) == expected
        check_weights_exist("auto", backbone)
        load = lambda *_, name=expected: {name: 1}  # noqa: E731
        monkeypatch.setitem(pretrained.NAMED_WEIGHTS, expected, load)
    monkeypatch.setattr(pretrained, "check_weights", lambda state, *_: state)
    assert pretrained.fetch_weights("auto", "vgg16") == {"drawn": 1}
    assert pretrained.fetch_weights("auto", "resnet34") == {"imagenet": 1}
    for weights in ("drawn", "imagenet", "none", "/my.pth"):
        assert choose_weights(weights, "resnet18") == weights
    with pytest.raises(InputError, match="no drawn weights for vgg16"):  # never downloaded instead
        pretrained.fetch_weights("auto", "vgg16", tmp_path)


def test_the_shipped_files_are_those_that_auto_and_dvc_know():
    pipeline = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["weights"]["deps"]
    files = {path.stem for path in (PROJECT / "pretrained").glob("*.safetensors")}
    assert files == {*SHIPPED}
    assert [f"pretrained/{name}.safetensors" for name in SHIPPED] == [
        dependency for dependency in pipeline if dependency.startswith("pretrained/")
    ]


def test_a_native_head_without_pretrained_hidden_layers_is_said(caplog):
    state = pretrained.fetch_weights("drawn", "mobilenet_v3_small")
    for head, n_lines in (("gap", 0), ("native", 1)):
        caplog.clear()
        model = classifier.build_classifier("mobilenet_v3_small", head, CLASSES, 64)
        pretrained.apply_weights(state, model)
        assert len(caplog.messages) == n_lines
    assert "these (classifier.0.bias, classifier.0.weight) start from random" in caplog.text


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The empty cache of torch.hub, without a network."""

    def unreachable(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def publish(monkeypatch, folder, state, digest=None):
    """Make `state` the official weights of every backbone.

    Their URL is that of a file in `folder`, which is named after its hash, or after `digest`.
    """
    file = folder / "new.pth"
    torch.save(state, file)
    digest = digest or hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    url = file.rename(folder / f"official-{digest}.pth").as_uri()

    class Official(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=url, transforms=None, meta={})

    monkeypatch.setattr(backbones, "imagenet_weights", lambda _: Official.IMAGENET1K_V1)
    monkeypatch.setattr(torch.hub, "urlopen", urllib.request.urlopen)


def test_official_weights_are_downloaded_once(hub, tmp_path, monkeypatch):
    state = torchvision_state(SMALL, n_classes=1000)
    publish(monkeypatch, tmp_path, state)
    first = pretrained.fetch_weights("imagenet", SMALL)
    monkeypatch.delattr(torch.hub, "urlopen")
    second = pretrained.fetch_weights("imagenet", SMALL)
    assert torch.equal(first["features.0.weight"], state["features.0.weight"])
    assert torch.equal(second["features.0.weight"], state["features.0.weight"])


def test_a_download_with_another_hash_is_refused(hub, tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, torchvision_state(SMALL), digest="0123abcd")
    with pytest.raises(InputError, match="invalid hash value"):
        pretrained.fetch_weights("imagenet", SMALL)
    assert not list(hub.glob("*.pth"))


def test_the_error_for_unreachable_official_weights_says_which_file_to_put_where(hub):
    with pytest.raises(InputError) as error:
        pretrained.fetch_weights("imagenet", SMALL)
    url = backbones.imagenet_weights(SMALL).url
    assert url in str(error.value)
    assert str(hub / url.rsplit("/", 1)[1]) in str(error.value)
    advice = "or set weights to auto and backbone to one whose weights are shipped: "
    assert str(error.value).endswith(advice + ", ".join(SHIPPED))
    assert "\n" not in str(error.value)


def test_a_file_put_into_the_cache_must_be_the_official_one(hub):
    name = backbones.imagenet_weights(SMALL).url.rsplit("/", 1)[1]
    torch.save(torchvision_state(SMALL), hub / name)
    with pytest.raises(InputError, match="SHA-256 does not begin with"):
        pretrained.fetch_weights("imagenet", SMALL)


def test_weights_are_read_as_they_were_written(tmp_path):
    state = pretrained.check_weights(torchvision_state(SMALL), SMALL, "a test")
    path = tmp_path / "pretrained.safetensors"
    pretrained.write_weights(path, state, SMALL, str(tmp_path / "mine.pth"))
    read, origin = pretrained.read_weights(path, SMALL)
    assert origin == "mine.pth"  # without the folder
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)
    with pytest.raises(
        InputError, match=r"holds weights of squeezenet1_1, but backbone is resnet18"
    ):
        pretrained.read_weights(path, "resnet18")


def test_the_real_weights_fit(shared):
    path = shared / "weights" / "mobilenet_v2-from-tf2-int8.pth"
    state = pretrained.fetch_weights(str(path), "mobilenet_v2")
    assert len(state) == 312
    with pytest.raises(InputError, match="It fits mobilenet_v2"):
        pretrained.fetch_weights(str(path), "mobilenet_v3_small")
