"""Which images are measured, and which methods are compared."""

from pokecam.judging.case import BASELINES, select_images, select_positive_evidence
from tests.judging.halves import build_case


def test_classes_take_turns_in_the_selection():
    labels = ["a", "a", "a", "b", "c", "c"]
    assert select_images(labels, 3).tolist() == [0, 3, 4]
    assert select_images(labels, 4).tolist() == [0, 1, 3, 4]
    assert select_images(labels, 5).tolist() == [0, 1, 3, 4, 5]
    assert select_images(labels, 99).tolist() == [0, 1, 2, 3, 4, 5]


def test_baselines_are_judged_too_but_not_twice():
    case = build_case()
    assert case.methods == ["cam", "grad_cam", *BASELINES]
    maps = {"random": case.maps["cam"], "cam": case.maps["cam"]}
    assert build_case(maps).methods == ["cam", "random", "centre", "edges"]


def test_baselines_come_last_and_evidence_against_a_class_is_not_judged():
    cam = build_case().maps["cam"]
    maps = select_positive_evidence({"edges": cam, "counterfactual": cam, "cam": cam})
    assert build_case(maps).methods == ["cam", "random", "centre", "edges"]
