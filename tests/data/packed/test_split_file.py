"""The file in which a user fixes the subset of images."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pokecam.common.errors import InputError
from pokecam.data.packed.split_file import check_split_file, read_split_file
from pokecam.data.packed.splits import LEFT_OUT, SUBSETS, make_split
from tests.conftest import PROJECT
from tests.data.packed.test_splits import counts, divided, manifest

INSECTS = manifest({"Ant": [1] * 10, "Bee": [2, 3, 1, 1, 1, 1, 1]})  # Bee/0010 and 0011 are a pair


def fixed_split(table: pd.DataFrame, fixed: dict[str, str], val=0.2, test=0.2, seed=1):
    return make_split(table, val_fraction=val, test_fraction=test, seed=seed, fixed=fixed)


@pytest.fixture
def read(tmp_path):
    """Returns a function that writes rows of file, label, subset, and reads them."""

    def read_rows(*rows: str, header="file,label,subset") -> dict[str, str]:
        path = tmp_path / "own.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return read_split_file(path, INSECTS)

    return read_rows


def test_the_committed_file_fixes_nothing_and_says_nothing(caplog):
    fixed = read_split_file(PROJECT / "datasets" / "split.csv", INSECTS)
    assert fixed == {}
    assert caplog.text == ""
    assert fixed_split(INSECTS, fixed).equals(divided(INSECTS))


def test_an_edited_copy_of_the_split_is_taken_as_it_is(tmp_path, caplog):
    split = divided(INSECTS, seed=5)
    row = split.index[(split.label == "Ant") & (split.subset == "train")][0]
    split.loc[row, "subset"] = "test"
    split.loc[row + 1, "subset"] = LEFT_OUT
    split.to_csv(tmp_path / "own.csv", index=False)
    fixed = read_split_file(tmp_path / "own.csv", INSECTS)
    assert fixed_split(INSECTS, fixed, seed=9, val=0.4).equals(split)
    assert caplog.text == ""


def test_images_that_are_not_listed_are_counted_and_divided(read, caplog):
    fixed = read("Ant/0000.png,Ant,test", "Ant/0001.png,Ant,test")
    (record,) = caplog.records
    assert "own.csv lists 2 of 20 images; the fractions divide the other 18" in record.message
    split = fixed_split(INSECTS, fixed)
    assert counts(split) == counts(divided(INSECTS))  # the two fill the test set of their class
    assert split.subset[:2].tolist() == ["test", "test"]
    assert (split.subset[2:10] != "test").all()


def test_a_subset_with_more_than_its_fraction_leaves_the_ratio_of_the_others():
    """Of 100 images 60 : 20 : 20 would be wanted; with 50 in test, 50 are left for 60 : 20."""
    table = manifest({"Ant": [1] * 100})
    fixed = dict.fromkeys(table.file[:50], "test")
    assert counts(fixed_split(table, fixed))["Ant"] == (38, 12, 50)


def test_a_subset_with_more_than_its_fraction_gets_no_more_by_rounding():
    """Of 20 images 12 : 4 : 4 are wanted; with 13, 1 and 1 listed, 5 remain for 0 : 3 : 3."""
    table = manifest({"Ant": [1] * 20})
    fixed = dict.fromkeys(table.file[:13], "train") | {
        table.file[13]: "val",
        table.file[14]: "test",
    }
    assert counts(fixed_split(table, fixed))["Ant"] in ((13, 4, 3), (13, 3, 4))


def test_near_duplicates_follow_a_listed_image(read):
    fixed = read("Bee/0010.png,Bee,val")
    subset = fixed_split(INSECTS, fixed).set_index("file").subset
    assert subset["Bee/0011.png"] == "val"
    # The file alone decides: of another seed, too.
    assert fixed_split(INSECTS, read("Bee/0010.png,Bee,test"), seed=7).subset[11] == "test"


def test_near_duplicates_of_an_image_that_is_left_out_are_divided(read):
    split = fixed_split(INSECTS, read(f"Bee/0010.png,Bee,{LEFT_OUT}"))
    assert split.subset[10] == LEFT_OUT
    assert split.subset[11] in SUBSETS


def test_near_duplicates_on_both_sides_are_allowed_with_one_warning(read, caplog):
    rows = [f"{file},{label},train" for file, label, _ in INSECTS.itertuples(index=False)]
    rows[11] = rows[11].replace("train", "test")  # of a pair
    rows[12] = rows[12].replace("train", "val")  # of three
    rows[15:17] = [
        row.replace("train", subset) for row, subset in zip(rows[15:17], SUBSETS[1:], strict=True)
    ]
    rows[:2] = [
        row.replace("train", subset) for row, subset in zip(rows[:2], SUBSETS[1:], strict=True)
    ]
    fixed = read(*rows)
    (record,) = caplog.records
    assert "2 groups with 5 images, listed in data/images/duplicates.csv" in record.message
    assert fixed_split(INSECTS, fixed).subset.tolist() == list(fixed.values())


def test_a_group_that_is_listed_on_both_sides_takes_the_rest_where_most_are(read):
    table = manifest({"Ant": [4] + [1] * 6})
    fixed = {"Ant/0000.png": "test", "Ant/0001.png": "val", "Ant/0002.png": "val"}
    assert fixed_split(table, fixed).subset[3] == "val"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Ant/00.png,Ant,val"], "'Ant/00.png' is none of the images .* Did you mean Ant/000"),
        (["Cat/1.png,Cat,val"], "class 'Cat', which is not among the chosen classes"),
        (["Ant/0000.png,Bee,val"], "has the label 'Bee', its class is Ant"),
        (["Ant/0000.png,Ant,val"] * 2, "Ant/0000.png is there twice"),
        (
            ["Ant/0000.png,Ant,validation"],
            "in subset 'validation', which is none of train, val, te",
        ),
        (["Ant/0000.png,Ant"], "line 2 has 2 fields, the header 3"),
    ],
    ids=range(6),
)
def test_what_does_not_fit_is_told(read, rows, message):
    with pytest.raises(InputError, match=message) as error:
        read(*rows)
    assert len(str(error.value).splitlines()) == 1
    assert "split_file" in str(error.value)
    assert "own.csv" in str(error.value)


def test_columns_and_files_that_are_missing_are_told(read, tmp_path):
    with pytest.raises(InputError, match=r"split_file .*own\.csv has no column label"):
        read("Ant/0000.png,val", header="file,subset")
    for path in (tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(InputError, match="is not a file: give datasets"):
            check_split_file(path)
    check_split_file(PROJECT / "datasets" / "split.csv")


@pytest.mark.parametrize(
    ("subset", "n_listed", "absent"),
    [("train", 10, "val"), (LEFT_OUT, 10, "train"), ("val", 9, "")],
)
def test_a_class_that_ends_without_images_is_told(subset, n_listed, absent):
    """With one image that is not listed, two subsets without any cannot both get one."""
    fixed = dict.fromkeys(INSECTS.file[:n_listed], subset)
    with pytest.raises(InputError, match=f"class Ant without images in subset {absent}"):
        fixed_split(INSECTS, fixed)


# Of nine groups, six are listed at most: three can always fill the subsets.
sizes = st.lists(st.integers(1, 4), min_size=9, max_size=20)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.data())
def test_properties_of_any_fixed_division(ants, bees, data):
    table = manifest({"Ant": ants, "Bee": bees})
    listed = data.draw(st.lists(st.sampled_from(table.file.tolist()), unique=True, max_size=6))
    choices = st.sampled_from([*SUBSETS, LEFT_OUT])
    fixed = {file: data.draw(choices) for file in listed}
    split = fixed_split(table, fixed)
    subset_of = split.set_index("file").subset
    assert all(subset_of[file] == subset for file, subset in fixed.items())
    assert set(table.file[split.subset == LEFT_OUT]) == {
        file for file, subset in fixed.items() if subset == LEFT_OUT
    }
    # Only groups that the file divides are divided.
    group_of = table.set_index("file").group
    placed = {file: subset for file, subset in fixed.items() if subset != LEFT_OUT}
    listed_subsets = Counter(dict.fromkeys((group_of[file], placed[file]) for file in placed))
    divided_by_file = {
        group for group, n in Counter(group for group, _ in listed_subsets).items() if n > 1
    }
    used = split[split.subset != LEFT_OUT]
    n_subsets = used.groupby(group_of[used.file].to_numpy()).subset.nunique()
    assert set(n_subsets.index[n_subsets > 1]) <= divided_by_file
    assert all(min(three) >= 1 for three in counts(split).values())
