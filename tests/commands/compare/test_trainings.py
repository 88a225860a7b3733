"""Groups of trainings: which experiments are one, and figures over trainings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pokecam.commands.compare import groups, page, trainings
from pokecam.commands.compare.groups import Group
from pokecam.common.errors import InputError
from pokecam.judging.significance import holm
from tests.commands.compare.experiment import (
    ENTRY,
    FILES,
    experiment,
    judgement,
    single_groups,
    training,
)

EXISTING = ["other", "seed-1", "seed-10", "seed-2", "speed-1", "x-1", "[x]-1", "10-s", "2-s", "1-s"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("seed-*", ["seed-1", "seed-2", "seed-10"]),
        ("seed-?", ["seed-1", "seed-2"]),
        ("main,seed-2,seed-*", ["main", "seed-2", "seed-1", "seed-10"]),
        ("a,b,a", ["a", "b"]),
        ("s*-1", ["seed-1", "speed-1"]),
        ("s*", ["seed-1", "seed-2", "seed-10", "speed-1"]),
        ("[x]-?", ["[x]-1"]),
        ("*-s", ["1-s", "2-s", "10-s"]),
    ],
)
def test_patterns_stand_for_names_of_experiments(names, expected):
    assert groups.expand(names, EXISTING) == expected


def test_a_pattern_without_experiment_names_those_that_exist():
    message = r"sed-\*: such an experiment is not known\. Did you mean seed-2\? Allowed: other, "
    with pytest.raises(InputError, match=message):
        groups.expand("sed-*", ["other", "seed-2"])
    with pytest.raises(InputError, match=r"there is no experiment yet; `dvc exp run` makes one"):
        groups.expand("sed-*", [])


@pytest.mark.parametrize("names", ["a,", ",a", "a,,b", ""])
def test_an_empty_name_is_not_the_last_commit(names):
    """Git takes an empty revision for HEAD."""
    with pytest.raises(InputError, match="a name is empty"):
        groups.expand(names, EXISTING)


@pytest.fixture
def read(monkeypatch):
    """Reading of groups, of experiments that are not in DVC."""
    monkeypatch.setattr(groups, "experiment_names", lambda repository: list(existing))
    existing = {}

    def read_experiment(name, repository):
        return replace(existing[name.partition(":")[0]], name=name)

    monkeypatch.setattr(groups, "read_experiment", read_experiment)

    def read_groups(arguments, **experiments):
        existing.update({name.replace("_", "-"): e for name, e in experiments.items()})
        return groups.read_groups(arguments, None)

    return read_groups


def test_trainings_that_differ_in_seeds_are_one_group(read):
    built = read(
        ["s-*:cam", "other"],
        s_1=training("", 1, 0.9),
        s_2=training("", 1, 0.9, split_seed=2),
        other=training("", 5, 0.9),
    )
    assert [group.name for group in built] == ["s-*:cam", "other"]
    assert [e.name for e in built[0].experiments] == ["s-1:cam", "s-2:cam"]
    assert built[0].seeds == [(1, 1), (1, 2)]


def test_trainings_that_differ_in_more_are_no_group(read):
    other = training("", 2, 0.9)
    other = replace(other, params=other.params | {"epochs": 9, "backbone": "vgg16"})
    with pytest.raises(InputError, match=r"s-\*: s-1 and s-2 differ in backbone, epochs, but"):
        read(["s-*"], s_1=training("", 1, 0.9), s_2=other)


def test_a_training_counts_once(read):
    """Within a group, as main and HEAD, and in two groups."""
    with pytest.raises(InputError, match="s-1 and s-2 have the same parameters and seeds"):
        read(["s-*"], s_1=training("", 1, 0.9), s_2=training("", 1, 0.9))
    with pytest.raises(InputError, match="s-1 and s-1 have the same parameters and seeds"):
        read(["s-*", "s-1"], s_1=training("", 1, 0.9), s_2=training("", 2, 0.9))


def test_one_training_by_two_methods_is_two_observations(read):
    other = replace(training("", 1, 0.9), method="finer_cam")
    built = read(["s-1,s-2", "t-1"], s_1=training("", 1, 0.9), s_2=training("", 2, 0.9), t_1=other)
    assert [len(group.experiments) for group in built] == [2, 1]


def test_a_method_stands_once_at_the_end(read):
    with pytest.raises(InputError, match=r"a:cam,b: a group has one method"):
        read(["a:cam,b"])


def test_trainings_of_an_older_version_are_refused(read):
    old = training("", 2, 0.9)
    about = {k: v for k, v in old.judgement.about.items() if k != "part_baselines"}
    old = replace(old, judgement=replace(old.judgement, about=about))
    with pytest.raises(InputError, match="s-2 comes from an older version"):
        read(["s-*"], s_1=training("", 1, 0.9), s_2=old)
    assert len(read(["s-1", "s-2"], s_1=training("", 1, 0.9), s_2=old)) == 2


def test_spread_is_that_of_students_t():
    values = np.array([0.9, 0.95, 0.94, 0.97, np.nan])
    built = trainings.spread(values)
    numbers = values[:4]
    assert built.n == 4
    assert built.mean == pytest.approx(numbers.mean())
    assert built.sd == pytest.approx(np.std(numbers, ddof=1))
    expected = stats.t.interval(0.95, 3, numbers.mean(), stats.sem(numbers))
    assert (built.low, built.high) == pytest.approx(expected)
    # t with 3 degrees of freedom: 3.182; √(1 + 1/4)
    assert built.next_high - built.mean == pytest.approx(3.1824 * built.sd * 1.25**0.5, rel=1e-4)


@pytest.mark.parametrize(("values", "mean"), [([0.5], 0.5), ([np.nan], np.nan), ([], np.nan)])
def test_one_training_has_no_interval(values, mean):
    built = trainings.spread(np.array(values, float))
    assert built.mean == pytest.approx(mean, nan_ok=True)
    assert np.isnan([built.sd, built.low, built.high, built.next_low, built.next_high]).all()


def test_equal_figures_have_no_interval():
    """Not one of width 0, which would say that a further training has the same figure."""
    built = trainings.spread(np.array([0.5, 0.5 + 1e-9, 0.5]))
    assert built.sd == pytest.approx(0, abs=1e-8)
    assert np.isnan([built.low, built.high, built.next_low, built.next_high]).all()


@pytest.mark.parametrize("is_paired", [True, False])
def test_differences_by_rounding_are_no_spread(is_paired):
    """One image of 120 more in each of three trainings, in figures of six digits."""
    first = np.array([0.975, 0.966667, 0.983333])
    other = np.array([0.983333, 0.975, 0.991667])
    if not is_paired:
        first, other = np.full(3, 0.975), np.array([0.983333, 0.983334, 0.983333])
    built = trainings.difference(first, other, is_paired=is_paired)
    assert built.value == pytest.approx(0.008333, abs=1e-5)
    assert np.isnan([built.p, built.low]).all()
    assert not built.is_significant


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    n_mean = n_next = 0
    for _ in range(2000):
        *five, further = rng.normal(0.9, 0.02, 6)
        built = trainings.spread(np.array(five))
        n_mean += built.low <= 0.9 <= built.high
        n_next += built.next_low <= further <= built.next_high
    assert 0.93 < n_mean / 2000 < 0.97
    assert 0.93 < n_next / 2000 < 0.97


def test_groups_with_the_same_seeds_are_compared_in_pairs():
    first = [training("", seed, 0.9 + seed / 100) for seed in (1, 2, 3)]
    other = [
        training("", seed, 0.92 + seed / 100 + noise)
        for seed, noise in ((3, 0.001), (1, -0.001), (2, 0))
    ]
    (row, _) = trainings.training_rows([Group("a", first), Group("b", other)])
    (built,) = row.differences
    assert built.is_paired
    assert built.value == pytest.approx(0.02)
    expected = stats.ttest_rel([0.929, 0.94, 0.951], [0.91, 0.92, 0.93])
    assert built.p == pytest.approx(expected.pvalue)  # no other row has a test
    assert built.is_significant
    assert built.low == pytest.approx(expected.confidence_interval().low)


def test_groups_with_other_seeds_are_compared_by_welchs_test():
    first = [training("", seed, accuracy) for seed, accuracy in ((1, 0.9), (2, 0.91))]
    other = [training("", seed, accuracy) for seed, accuracy in ((1, 0.95), (2, 0.93), (3, 0.96))]
    (row, deletion) = trainings.training_rows([Group("a", first), Group("b", other)])
    expected = stats.ttest_ind([0.95, 0.93, 0.96], [0.9, 0.91], equal_var=False)
    assert not row.differences[0].is_paired
    assert row.differences[0].p == pytest.approx(expected.pvalue)
    assert (deletion.title, deletion.more_is_better) == ("Deletion", False)
    assert np.isnan(deletion.differences[0].p)  # the same in all trainings


def test_p_values_are_corrected_for_all_tests():
    first = [training("", s, a, deletion=d) for s, a, d in ((1, 0.90, 0.30), (2, 0.91, 0.32))]
    other = [training("", s, a, deletion=d) for s, a, d in ((3, 0.95, 0.31), (4, 0.97, 0.35))]
    third = [training("", s, a, deletion=d) for s, a, d in ((1, 0.93, 0.2), (2, 0.95, 0.25))]
    rows = trainings.training_rows([Group("a", first), Group("b", other), Group("c", third)])
    assert [[d.is_paired for d in row.differences] for row in rows] == [[False, True]] * 2
    p = [
        stats.ttest_ind([0.95, 0.97], [0.90, 0.91], equal_var=False).pvalue,
        stats.ttest_rel([0.93, 0.95], [0.90, 0.91]).pvalue,
        stats.ttest_ind([0.31, 0.35], [0.30, 0.32], equal_var=False).pvalue,
        stats.ttest_rel([0.2, 0.25], [0.30, 0.32]).pvalue,
    ]
    corrected = [d.p for row in rows for d in row.differences]
    assert corrected == pytest.approx(holm(np.array(p)))


def test_one_training_each_has_a_difference_without_test():
    groups = single_groups(training("", 1, 0.9), training("", 2, 0.95))
    row = trainings.training_rows(groups)[0]
    assert row.differences[0].value == pytest.approx(0.05)
    assert np.isnan(row.differences[0].low)
    assert not row.differences[0].is_significant


def test_figures_are_those_of_metrics_and_measures():
    group = Group("a", [training("", s, 0.9, deletion=0.1 * s) for s in (1, 2, 3)])
    rows = trainings.training_rows([group])
    assert [row.title for row in rows] == ["Accuracy", "Deletion"]  # ece is None
    assert rows[1].spreads[0].mean == pytest.approx(0.2)


def parts(file, *rows):
    return [(file, part, drop, mass) for part, drop, mass in rows]


def test_agreement_by_hand():
    maps = np.arange(48.0).reshape(12, 2, 2) + 1
    one = replace(experiment("one"), maps=maps)
    flipped = maps.copy()
    flipped[:3] = flipped[:3, ::-1, ::-1]  # three of twelve maps are upside down
    other = replace(experiment("other", wrong=[0]), maps=flipped)
    columns = ["file", "part", "drop", "cam"]
    same = [
        *parts(FILES[2], ("ear", 1, 2), ("tail", 0, 1)),
        *parts(FILES[3], ("ear", 2, 0), ("tail", 1, 0)),  # empty maps name no part
        *parts(FILES[0], ("ear", 2, 5), ("tail", 1, 1)),  # its predictions are not the same
    ]
    tables = [
        [*parts(FILES[1], ("ear", 2, 1), ("tail", 1, 5)), *same],
        [*parts(FILES[1], ("ear", 3, 9), ("tail", 1, 5)), *same],
    ]
    one, other = (
        replace(e, judgement=judgement(parts=pd.DataFrame(rows, columns=columns)))
        for e, rows in zip((one, other), tables, strict=True)
    )
    built = trainings.agreement(Group("g", [one, other]))
    assert (built.n_pairs, built.n_images) == (1, 12)
    assert built.same_prediction == pytest.approx(11 / 12)
    assert built.same_image == pytest.approx((9 - 3) / 12)
    # Maps of another image rise likewise, but where that one is upside down.
    assert built.other_image == pytest.approx((9 - 3) / 12)
    assert built.n_part_images == 3
    assert (built.heaviest_part, built.decisive_part) == (0.5, 1.0)


def test_maps_agree_without_their_negative_values():
    maps = np.tile([[3.0, 2], [-1, -2]], (12, 1, 1))
    other_maps = np.tile([[3.0, 2], [-2, -1]], (12, 1, 1))
    pair = [replace(experiment(""), maps=m) for m in (maps, other_maps)]
    assert trainings.agreement(Group("g", pair)).same_image == pytest.approx(1)


def test_trainings_without_common_images_do_not_agree():
    one, other = experiment("one"), experiment("other")
    halves = [
        replace(e, predictions=e.predictions.iloc[rows])
        for e, rows in ((one, slice(6)), (other, slice(6, 12)))
    ]
    built = trainings.agreement(Group("g", halves))
    assert built.n_pairs == 0
    assert np.isnan(built.same_image)


def test_a_finding_of_some_trainings_flips():
    group = Group("a", [training("", s, 0.9, is_better=s < 3) for s in (1, 2, 3)])
    always = Group("b", [training("", s, 0.9, is_better=True) for s in (1, 2)])
    (finding,) = trainings.findings([group, always])
    assert finding.text == "Deletion: better than every baseline"
    assert (finding.counts, finding.n) == ([2, 2], [3, 2])
    assert finding.depends_on_seed
    (finding,) = trainings.findings([always])
    assert not finding.depends_on_seed


@pytest.mark.parametrize("title", ["Random", "Counterfactual"])
def test_a_map_that_is_not_judged_has_no_findings(title):
    """A baseline, or the evidence against a class."""
    members = [replace(training("", s, 0.9), title=title) for s in (1, 2)]
    assert trainings.findings([Group("a", members)]) == []


def test_findings_of_parts_are_among_them():
    """The measures of parts have a table of their own in the report."""
    members = []
    for seed in (1, 2):
        base = training("", seed, 0.9, is_better=True)
        about = base.judgement.about | {"measures": {"deletion": ENTRY | {"group": "parts"}}}
        members.append(replace(base, judgement=replace(base.judgement, about=about)))
    (finding,) = trainings.findings([Group("a", members)])
    assert finding.counts == [2]


def test_without_measures_there_are_only_metrics():
    """`judge_measures: []`."""
    members = []
    for seed in (1, 2):
        base = training("", seed, 0.9)
        tables = {
            name: getattr(base.judgement, name).iloc[:0] for name in ("measures", "tests", "scores")
        }
        members.append(replace(base, judgement=replace(base.judgement, **tables)))
    group = Group("a", members)
    assert [row.title for row in trainings.training_rows([group])] == ["Accuracy"]
    assert trainings.findings([group]) == []
    assert np.isnan(trainings.agreement(group).heaviest_part)


def test_the_page_of_trainings(packed, tmp_path):
    first = Group("a-*", [training(f"a-{s}", s, 0.9 + s / 100, is_better=s < 3) for s in range(6)])
    other = Group("<b>", [training(f"b-{s}", s, 0.99 + s / 1000) for s in range(6)])
    page.write_comparison([first, other], packed, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "nan" not in text
    assert "3 of 6" in text
    assert "0.925" in text
    assert "sd 0.019" in text
    assert "a-3, CAM" in text
    assert "a-4, CAM" not in text  # four trainings of a group have a column
    assert "0, 1, 2, 3, 4, 5" in text  # the seeds
    assert "other values of split_seed" not in text
    assert (tmp_path / "figure.jpg").exists()


def test_trainings_of_other_splits_have_figures_without_images(packed, tmp_path):
    halves = [
        replace(
            training(f"s-{s}", 1, 0.9 + s / 100, split_seed=s),
            predictions=experiment("").predictions.iloc[6 * s : 6 * s + 6],
        )
        for s in (0, 1)
    ]
    (tmp_path / "figure.jpg").write_bytes(b"of an earlier comparison")
    page.write_comparison([Group("s-*", halves)], packed, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Accuracy" in text
    assert "<img" not in text
    assert not (tmp_path / "figure.jpg").exists()


def test_groups_of_other_splits_are_said_to_be_so(packed, tmp_path):
    first = Group("a", [training("a", seed, 0.9 + seed / 100) for seed in (1, 2)])
    other = Group("b", [training("b", seed, 0.9, split_seed=2) for seed in (1, 2)])
    page.write_comparison([first, other], packed, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "The groups have other values of split_seed" in text


def test_images_on_the_page_are_those_of_all_trainings(packed, tmp_path):
    """Also of those that have no column."""
    members = [training(f"a-{seed}", seed, 0.9 + seed / 100) for seed in range(5)]
    members[4] = replace(members[4], predictions=members[4].predictions.iloc[:3])
    page.write_comparison([Group("a-*", members)], packed, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "3 test images that all experiments have" in text
    assert text.count("<img") == 3
