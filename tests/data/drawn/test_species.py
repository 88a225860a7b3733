"""Reading species: what the dialect means, and the errors for everything outside it."""

import numpy as np
import pytest

from pokecam.common.errors import InputError
from pokecam.data.drawn import species
from pokecam.data.drawn.species import CLOSE, LINE, MOVE
from tests.data.drawn.creatures import BIRD, HEAD, bird

DEFAULT = ["Pikachu", "Raichu", "Bulbasaur", "Ivysaur", "Charmander", "Charmeleon"]
DEFAULT += ["Squirtle", "Wartortle", "Gengar", "Snorlax"]


def one_shape(shape: str) -> species.Shape:
    text = f'{HEAD}<g id="body" data-joint="0,0">{shape}</g></svg>'
    return species.parse(text, "One").parts[0].shapes[0]


def test_parts_in_painters_order_with_joint_swing_and_parent():
    parts = bird().parts
    assert [part.name for part in parts] == ["tail", "body", "wing", "head", "beak", "eye", "legs"]
    tail, body, _, _, beak, _, _ = parts
    assert (tail.joint, tail.swing_deg, tail.parent) == ((50, 40), 25, "body")
    assert (body.parent, beak.parent) == (None, "head")


def test_polygon_and_path_keep_their_points():
    shape = one_shape('<polygon points="1,2 30,4.5 -5,60" fill="#010203"/>')
    assert shape.vertices[:3].tolist() == [[1, 2], [30, 4.5], [-5, 60]]
    assert shape.codes.tolist() == [MOVE, LINE, LINE, CLOSE]
    assert shape.fill == (1, 2, 3)
    assert shape.line is None
    shape = one_shape('<path d="M1 2L3-4 5,6M0 0 L9 9" fill="none" stroke="#ff0000"/>')
    assert shape.vertices.tolist() == [[1, 2], [3, -4], [5, 6], [0, 0], [9, 9]]
    assert shape.codes.tolist() == [MOVE, LINE, LINE, MOVE, LINE]
    assert (shape.fill, shape.line, shape.width) == (None, (255, 0, 0), 1)


def test_curves_lie_on_the_curve():
    """The middle of Q from (0,0) over (40,80) to (80,0) is (40,40); C has its own formula."""
    shape = one_shape('<path d="M 0 0 Q 40 80 80 0" fill="#000000"/>')
    x, y = shape.vertices.T
    np.testing.assert_allclose(y, 2 * x * (1 - x / 80), atol=0.002)  # y = 160 t (1 - t), x = 80 t
    shape = one_shape('<path d="M 0 0 C 0 60 90 60 90 0 Z" fill="#000000"/>')
    assert [45, 45] in shape.vertices.tolist()  # (P0 + 3 P1 + 3 P2 + P3) / 8


def test_ellipse_and_rectangle_have_the_right_extent_and_area():
    def area(shape: species.Shape) -> float:
        x, y = shape.vertices[:-1].T
        return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2

    oval = one_shape('<ellipse cx="10" cy="-20" rx="50" ry="30" fill="#000000"/>')
    assert oval.vertices.max(axis=0).tolist() == [60, 10]
    assert oval.extent == 60
    assert area(oval) == pytest.approx(np.pi * 50 * 30, rel=0.01)
    rect = one_shape('<rect x="-10" y="0" width="40" height="20" fill="#000000"/>')
    assert area(rect) == 800
    # A quadratic corner leaves out r² / 6 of its square: ∫(1 − √x)² = 1/6.
    rounded = one_shape('<rect x="-10" y="0" width="40" height="20" rx="6" fill="#000000"/>')
    assert area(rounded) == pytest.approx(800 - 4 * 36 / 6, rel=0.01)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</svg>", "", "not well-formed"),
        ('viewBox="-128 -128 256 256"', 'viewBox="0 0 256 256"', "viewBox"),
        ('<g id="tail"', '<g id="Tail"', "'Tail'.*lower-case"),
        ('<g id="tail"', '<g id="body"', "'body' exists twice"),
        ('data-joint="50,40"', 'data-joint="50"', "'tail': data-joint"),
        ('data-swing="25"', 'data-swing="270"', "'tail': data-swing"),
        ('data-swing="25"', 'data-swings="25"', "'tail': attribute 'data-swings'"),
        ('data-parent="head"', 'data-parent="haed"', "'beak' follows 'haed'.*Did you mean head"),
        ('data-swing="12"', 'data-parent="eye"', "circle: head → eye"),
        ('fill="#3355cc"', 'fill="blue"', "'tail', <polygon>: fill: 'blue'"),
        ('fill="#3355cc"', 'fill="none"', "'tail', <polygon>: neither fill nor stroke"),
        (
            'fill="#3355cc"',
            'fill="#3355cc" transform="scale(2)"',
            "<polygon>: attribute 'transform'",
        ),
        ('stroke-width="5"', 'stroke-width="0"', "'legs', <path>: stroke-width"),
        ('stroke-linecap="round"', 'stroke-linecap="flat"', "'legs'.*stroke-linecap 'flat'"),
        (
            'points="40,40 110,0 110,70"',
            'points="40,40 110,0"',
            "'tail', <polygon>: at least three",
        ),
        ('points="40,40', 'points="40,40.25', "'tail'.*'40.25'"),
        ('points="40,40 110,0', 'points="40,40 130,0', "'tail', <polygon>: reaches outside"),
        ("M 10 10 C", "M 10 10 c", "'wing', <path>: 'c' is not expected"),
        ("M 10 10 C", "C", "'wing', <path>: 'C' is not expected there; a path starts with M"),
        (
            "20 70 Q -20 40 10 10 Z",
            "20 70 Q -20 40 10 Z",
            "'wing', <path>: 3 coordinates after Q, 4",
        ),
        ('r="38"', 'r="-38"', "'head', <circle>: r must be"),
        ('<circle cx="-30"', '<text cx="-30"', "'head': <text> is not a shape"),
    ],
)
def test_everything_outside_the_dialect_is_an_error(old, new, message):
    text = BIRD.replace(old, new, 1)
    assert text != BIRD
    with pytest.raises(InputError, match=f"Bird.*{message}"):
        species.parse(text, "Bird")


def test_motion_order_has_parents_first():
    order = bird().motion_order
    names = [bird().parts[i].name for i in order]
    assert sorted(names) == sorted(part.name for part in bird().parts)
    for part in bird().parts:
        if part.parent:
            assert names.index(part.parent) < names.index(part.name)


def test_an_empty_catalogue_is_an_error(tmp_path):
    with pytest.raises(InputError, match="contains no species"):
        species.catalogue(tmp_path)


@pytest.fixture(scope="module")
def catalogue() -> dict[str, species.Species]:
    return species.catalogue()


def test_the_catalogue_has_what_the_defaults_need(catalogue):
    assert {*DEFAULT, "Arbok", "Charizard", "Jigglypuff"} <= set(catalogue)
    assert len(catalogue) >= 16


def test_every_species_is_small_and_has_enough_parts(catalogue):
    for name, creature in catalogue.items():
        assert 8 <= len(creature.parts) <= 20, name
        assert (species.FOLDER / f"{name}.svg").stat().st_size <= 6144, name
        low, high = creature.vertices.min(axis=0), creature.vertices.max(axis=0)
        assert (high - low).max() >= 190, f"{name} is too small for its square"
