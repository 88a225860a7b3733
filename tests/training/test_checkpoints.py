"""Checkpoints on disk, and their names."""

import torch

from pokecam.common import checkpoint_key
from pokecam.networks.distributed import SINGLE_PROCESS, Team
from pokecam.training import checkpoints
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.settings import Recipe
from tests.stages.workplace import PARAMETERS

RECIPE = Recipe(**{name: PARAMETERS[name] for name in Recipe.model_fields})


def test_a_saved_state_comes_back_with_its_memory_format(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "state.pt")
    assert checkpoint.load() is None
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    checkpoint.save({"epoch": 3, "weights": {"w": weight}})
    state = checkpoint.load()
    assert state["epoch"] == 3
    assert state["weights"]["w"].equal(weight)
    assert state["weights"]["w"].stride() == weight.stride()
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["state.pt"]
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None


class Trap:
    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_file_is_not_run(tmp_path, capsys, caplog):
    path = tmp_path / "state.pt"
    torch.save({"epoch": Trap()}, path)
    assert Checkpoint(path).load() is None
    assert "cannot be read" in caplog.text
    assert "code was run" not in capsys.readouterr().out


def test_the_name_depends_on_everything_that_decides_the_result(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.write_text("images")

    def name(recipe=RECIPE, team=SINGLE_PROCESS):
        return checkpoints.checkpoint_of([recipe], [data], team, tmp_path).path

    default = name()
    assert name() == default
    names = {default, name(RECIPE.model_copy(update={"seed": 2})), name(team=Team(0, 2))}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 999)
        names.add(name())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.1")
        names.add(name())
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_key, "_loaded_code", lambda: [data])
        names.add(name())
    data.write_text("other images")
    names.add(name())
    assert len(names) == 7


def test_the_name_depends_on_the_code_of_the_project():
    files = {path.name for path in checkpoint_key._loaded_code()}
    assert {"checkpoints.py", "settings.py", "classifier.py"} <= files
