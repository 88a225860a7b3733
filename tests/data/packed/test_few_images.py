"""Which classes are named as too small, by hand."""

import pandas as pd
import pytest
from scipy import stats

from pokecam.data.packed import few_images
from pokecam.data.packed.splits import make_split


def split_of(**counts):
    """A split; counts: class → numbers of training, validation and test images."""
    rows = [
        (f"{label}/{subset}{number}.png", label, subset)
        for label, numbers in counts.items()
        for subset, n in zip(("train", "val", "test"), numbers, strict=True)
        for number in range(n)
    ]
    return pd.DataFrame(rows, columns=["file", "label", "subset"])


def test_classes_with_enough_images_give_no_line():
    enough = (few_images.FEWEST_TO_LEARN, 1, few_images.FEWEST_TO_JUDGE)
    assert few_images.after_split(split_of(Ant=enough, Bee=(36, 12, 12))) == []
    assert few_images.after_selection({"Ant": sum(enough)}) == []


def test_a_class_of_three_images_can_neither_be_learnt_nor_judged():
    split = split_of(Ant=(36, 12, 12), Bee=(7, 1, 4), Voltorb=(1, 1, 1))
    learn, judge = few_images.after_split(split)
    assert learn.startswith(
        "classes with fewer than 8 training images: Voltorb (1), Bee (7). They are too few to be "
        "learnt"
    )
    assert judge.startswith("classes with fewer than 4 test images: Voltorb (1). They are too few")
    assert "Ant" not in learn + judge


def test_a_class_without_test_images_is_named():
    (line,) = few_images.after_split(split_of(Ant=(36, 12, 12), Bee=(36, 12, 0)))
    assert "Bee (0)" in line


def test_select_names_the_classes_for_which_no_split_is_enough():
    (line,) = few_images.after_selection({"Ant": 60, "Bee": 12, "Cat": 13})
    assert line.startswith("classes with fewer than 13 usable images: Bee (12). No split gives")


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.4])
def test_what_select_names_is_too_few_for_every_split(fraction):
    """The fractions cannot help a class that `select` names."""
    n = few_images.FEWEST_TO_LEARN + few_images.FEWEST_TO_JUDGE
    manifest = pd.DataFrame({"file": [f"{i}.png" for i in range(n)], "label": "Ant"})
    split = make_split(
        manifest.assign(group=range(n)), val_fraction=0.05, test_fraction=fraction, seed=1
    )
    assert few_images.after_selection({"Ant": n})
    assert few_images.after_split(split)


def test_many_small_classes_are_counted():
    (line,) = few_images.after_selection({f"c{number:03d}": 5 for number in range(151)})
    assert "c009 (5), and 141 more" in line
    assert "c010" not in line


def test_the_limit_of_the_test_set_is_where_the_interval_of_a_perfect_recall_leaves_one_half():
    def lowest(n):
        return stats.binomtest(n, n).proportion_ci(method="wilson").low

    assert lowest(few_images.FEWEST_TO_JUDGE - 1) < 0.5 < lowest(few_images.FEWEST_TO_JUDGE)
