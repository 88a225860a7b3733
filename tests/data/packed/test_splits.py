"""Dividing images into training, validation and test sets."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.data.packed.splits import (
    LEFT_OUT,
    SUBSETS,
    SplitSettings,
    make_split,
    read_split,
    subset_rows,
)


def manifest(group_sizes: dict[str, list[int]]) -> pd.DataFrame:
    """Class → sizes of its groups."""
    table, group = [], 0
    for label, sizes in group_sizes.items():
        for size in sizes:
            for _ in range(size):
                table.append((f"{label}/{len(table):04d}.png", label, group))
            group += 1
    return pd.DataFrame(table, columns=["file", "label", "group"])


def divided(table: pd.DataFrame, val=0.2, test=0.2, seed=1) -> pd.DataFrame:
    return make_split(table, val_fraction=val, test_fraction=test, seed=seed)


def counts(result: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    images = Counter(zip(result.label, result.subset, strict=True))
    return {
        label: tuple(images[label, subset] for subset in SUBSETS) for label in set(result.label)
    }


def test_ten_classes_of_sixty_are_divided_exactly():
    table = manifest({f"c{i}": [1] * 60 for i in range(10)})
    assert set(counts(divided(table)).values()) == {(36, 12, 12)}


def test_rows_keep_their_order():
    table = manifest({"Ant": [1] * 9, "Bee": [3, 1, 1, 1]})
    result = divided(table)
    assert result.columns.tolist() == ["file", "label", "subset"]
    assert result.file.tolist() == table.file.tolist()
    assert result.label.tolist() == table.label.tolist()


def test_three_images_are_enough():
    assert counts(divided(manifest({"Ant": [1] * 3, "Bee": [1] * 3}), 0.45, 0.45)) == {
        "Ant": (1, 1, 1),
        "Bee": (1, 1, 1),
    }


def test_a_large_group_goes_to_train_and_the_others_make_up_for_it():
    assert counts(divided(manifest({"Ant": [20] + [1] * 40, "Bee": [1] * 5})))["Ant"] == (
        36,
        12,
        12,
    )


def test_three_large_groups_give_one_to_each_subset():
    assert counts(divided(manifest({"Ant": [5, 5, 5], "Bee": [1] * 5})))["Ant"] == (5, 5, 5)


def test_a_group_that_spans_classes_stays_whole():
    table = manifest({"Ant": [1] * 10, "Bee": [1] * 10})
    table.loc[table.file == "Bee/0010.png", "group"] = 0
    subset = divided(table).set_index("file").subset
    assert subset["Bee/0010.png"] == subset["Ant/0000.png"]


def test_order_of_rows_and_numbers_of_groups_make_no_difference():
    table = manifest({"Ant": [1, 2, 3, 1, 4] * 3, "Bee": [1] * 20})
    expected = divided(table).set_index("file").subset
    shuffled = table.sample(frac=1, random_state=3).reset_index(drop=True)
    shuffled["group"] = 1000 - shuffled.group
    assert divided(shuffled).set_index("file").subset.sort_index().equals(expected.sort_index())


def test_seeds_differ_and_repeat():
    table = manifest({"Ant": [1] * 60, "Bee": [1] * 60})
    assert divided(table, seed=1).equals(divided(table, seed=1))
    fraction_moved = (divided(table, seed=1).subset != divided(table, seed=2).subset).mean()
    assert 0.3 < fraction_moved < 0.8  # by chance 1 - (0.6² + 0.2² + 0.2²) = 0.56


def test_the_division_of_one_class_does_not_hang_on_the_others():
    both = divided(manifest({"Ant": [1] * 30, "Bee": [1] * 30})).set_index("file").subset
    other = divided(manifest({"Ant": [1] * 30, "Cat": [2] * 5})).set_index("file").subset
    assert both[other.index[:30]].equals(other[:30])


def test_an_image_more_moves_few_others():
    table = manifest({"Ant": [1] * 100, "Bee": [1] * 100})
    more = pd.concat([table, pd.DataFrame([("Ant/new.png", "Ant", 999)], columns=table.columns)])
    before = divided(table).set_index("file").subset
    after = divided(more.reset_index(drop=True)).set_index("file").subset
    assert (before != after[before.index]).sum() <= 30


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1, 1], "class Bee has 2 usable images in 2 groups"),
        ([50], "class Bee has 50 usable images in 1 groups"),
        ([9, 9], "at least 3 groups are needed"),
    ],
)
def test_too_few_groups_is_told(sizes, message):
    with pytest.raises(InputError, match=message):
        divided(manifest({"Ant": [1] * 9, "Bee": sizes}))


def test_fractions_that_leave_nothing():
    with pytest.raises(InputError, match="together they must be less than 1"):
        divided(manifest({"Ant": [1] * 9}), 0.5, 0.5)


def test_classes_tied_together_can_make_it_impossible():
    """A needs groups 1, 2, 3 apart. B then needs 4 where 3 is. C needs 3 and 4 apart."""
    table = pd.DataFrame(
        [
            (f"{label}/{group}.png", label, group)
            for label, groups in {"A": (1, 2, 3), "B": (1, 2, 4), "C": (3, 4, 5)}.items()
            for group in groups
        ],
        columns=["file", "label", "group"],
    )
    with pytest.raises(InputError, match=r"class [ABC] cannot be in (train|val|test) without"):
        divided(table)


def test_rows_of_a_subset():
    result = divided(manifest({"Ant": [1] * 10, "Bee": [1] * 10}))
    rows = [subset_rows(result, subset) for subset in SUBSETS]
    assert sorted(np.concatenate(rows).tolist()) == list(range(20))
    assert (result.subset.iloc[rows[2]] == "test").all()
    with pytest.raises(ValueError, match="'tset'"):
        subset_rows(result, "tset")


sizes = st.lists(st.integers(1, 6), min_size=3, max_size=40)
fractions = st.floats(0.05, 0.45)


@settings(max_examples=80, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=4), fractions, fractions, st.integers(0, 9), st.data())
def test_properties_of_any_division(all_sizes, val, test, seed, data):
    table = manifest({f"c{i}": sizes for i, sizes in enumerate(all_sizes)})
    result = divided(table, val, test, seed)
    # A group is in one subset, and every class is in every subset.
    assert result.groupby(table.group).subset.nunique().max() == 1
    counted = counts(result)
    assert all(min(three) >= 1 for three in counted.values())
    # The fractions are met as closely as the groups allow. The validation and the test set are off
    # by less than the largest group, the training set by the sum of both.
    for i, group_sizes in enumerate(all_sizes):
        total, largest = sum(group_sizes), max(group_sizes)
        targets = (total * (1 - val - test), total * val, total * test)
        for count, target, subsets in zip(counted[f"c{i}"], targets, (2, 1, 1), strict=True):
            assert abs(count - target) <= subsets * (largest + 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_fraction: 0", "val_fraction: 0 was given"),
        ("test_fraction: 1.0", "test_fraction: 1.0 was given"),
        ("split_seed: x", "split_seed: 'x' was given"),
        ("split_file: null", "split_file: None was given"),
    ],
)
def test_settings_are_checked(tmp_path, line, message):
    good = {
        "split_file": "datasets/split.csv",
        "val_fraction": 0.2,
        "test_fraction": 0.2,
        "split_seed": 1,
    }
    key, value = line.split(": ")
    lines = [f"{k}: {v}" for k, v in (good | {key: value}).items()]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        read_params(SplitSettings, tmp_path / "params.yaml", tmp_path / "dvc.yaml")


ANTS = manifest({"Ant": [1] * 6, "Bee, or so": [1] * 6})


@pytest.fixture
def edited(tmp_path):
    """Returns a function that edits the text of `split.csv` and reads the result."""
    path = tmp_path / "split.csv"
    divided(ANTS).to_csv(path, index=False)

    def edit(change, **options):
        text = path.read_text()
        changed = change(text)
        assert changed != text
        path.write_text(changed, **options)
        return read_split(path, ANTS)

    return edit


def test_what_split_writes_is_read_as_it_is(tmp_path):
    divided(ANTS).to_csv(tmp_path / "split.csv", index=False)
    assert read_split(tmp_path / "split.csv", ANTS).equals(divided(ANTS))


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: "".join(sorted(text.splitlines(True), reverse=True)), "utf-8"),
        (lambda text: text.replace(",", ";").replace("Bee; or", "Bee, or"), "utf-8-sig"),
        (lambda text: text.replace("\n", "\r\n"), "utf-16"),
    ],
    ids=["backwards", "semicolons", "UTF-16"],
)
def test_rows_in_any_order_and_from_any_program_mean_the_same(edited, change, encoding):
    """Sorted backwards, the header, which has no capital letter, still comes first."""
    assert edited(change, encoding=encoding).equals(divided(ANTS))


def test_an_image_can_be_moved_or_left_out(edited):
    train = divided(ANTS)[divided(ANTS).subset == "train"].file.iloc[:2].tolist()

    def change(text):
        moved = text.replace(f"{train[0]},Ant,train", f"{train[0]},Ant,val")
        return moved.replace(f"{train[1]},Ant,train", f"{train[1]},Ant,{LEFT_OUT}")

    subsets = edited(change).set_index("file").subset
    assert subsets[train].tolist() == ["val", LEFT_OUT]


def without_last_line(text):
    return "".join(text.splitlines(True)[:-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("subset", "Subset", 1), "no column subset"),
        (lambda text: "", "no column file"),
        (lambda text: text.splitlines()[0], "Ant/0000.png is missing"),
        (without_last_line, r"Bee, or so/0011.png is missing"),
        (lambda text: text + text.splitlines()[1], "Ant/0000.png is there twice"),
        (lambda text: text + "Ant/1.png,Ant,train", "'Ant/1.png' is none of the images in"),
        (lambda text: text + "Cat/1.png,Cat,train", "class 'Cat', which is not among the chosen"),
        (lambda text: text.replace(",Ant,", ",ant,", 1), "has the label 'ant', its class is Ant"),
        (lambda text: text.replace(",test", ",tset"), "in subset 'tset', .* Did you mean test"),
        (
            lambda text: text.replace(",test", ","),
            "in subset '', which is none of train, val, test",
        ),
        (lambda text: text.replace("Ant,test", "Ant,val"), "class Ant has no image in subset test"),
        (lambda text: text.replace("\n", ",1\n").replace(",1", "", 1), "line 2 has 4 fields"),
    ],
    ids=range(12),
)
def test_a_damaged_split_is_told(edited, change, message):
    with pytest.raises(InputError, match=message) as error:
        edited(change)
    assert len(str(error.value).splitlines()) == 1
    assert "split.csv" in str(error.value)


def test_a_damaged_split_says_how_it_comes_back(edited):
    with pytest.raises(InputError, match=r"`dvc checkout .*split\.csv`; your own .* `split_file`"):
        edited(without_last_line)
