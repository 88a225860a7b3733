"""Random creatures: they are valid, the seed decides them, and look-alikes differ a little."""

import random

import numpy as np
import pytest

from pokecam.commands.pretrain.anatomy import TABLES
from pokecam.commands.pretrain.chimera import (
    COLOURS,
    SIZES,
    VISIBLE_STEP,
    Genome,
    Look,
    creature,
    family,
)
from pokecam.data.drawn import species

CALM = dict.fromkeys(SIZES, 1.0)
GREY = dict.fromkeys(COLOURS, (128, 128, 128))
PLAIN = {organ: next(iter(table)) for organ, table in TABLES.items()}


def as_svg(drawn: species.Species) -> str:
    """Return a creature as the SVG that `species.parse` reads."""
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="-128 -128 256 256">']
    for part in drawn.parts:
        parent = f' data-parent="{part.parent}"' if part.parent else ""
        joint = f"{part.joint[0]:.1f},{part.joint[1]:.1f}"
        lines.append(
            f'<g id="{part.name}" data-joint="{joint}" data-swing="{part.swing_deg}"{parent}>'
        )
        lines += [f"  {shape_svg(shape)}" for shape in part.shapes]
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"])


def shape_svg(shape: species.Shape) -> str:
    letters = {species.MOVE: "M", species.LINE: "L"}
    d = " ".join(
        "Z" if code == species.CLOSE else f"{letters[code]} {x:.1f},{y:.1f}"
        for (x, y), code in zip(shape.vertices, shape.codes, strict=True)
    )
    fill, line = ("none" if c is None else f"#{bytes(c).hex()}" for c in (shape.fill, shape.line))
    return (
        f'<path d="{d}" fill="{fill}" stroke="{line}" stroke-width="{max(shape.width, 0.1):.1f}"/>'
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_creature_is_a_species_that_can_be_read(seed):
    genome = family(seed, 2)[1]
    drawn = creature(genome, Look.random(random.Random(seed)))
    read = species.parse(as_svg(drawn), "chimera")
    assert [part.name for part in read.parts] == [part.name for part in drawn.parts]
    assert read.motion_order == drawn.motion_order


@pytest.mark.parametrize(
    ("organ", "kind"), [(o, kind) for o, table in TABLES.items() for kind in table]
)
def test_every_kind_of_every_organ_can_be_drawn(organ, kind):
    drawn = creature(Genome(PLAIN | {organ: kind}, CALM, GREY))
    reach = max(np.abs(shape.vertices).max() for part in drawn.parts for shape in part.shapes)
    assert 120 <= reach <= species.HALF


@pytest.mark.parametrize("organ", [organ for organ in TABLES if organ != "limbs"])
def test_kinds_of_an_organ_look_different(organ):
    def outline(kind: str) -> bytes:
        drawn = creature(Genome(PLAIN | {organ: kind}, CALM, GREY))
        return b"".join(s.vertices.tobytes() for part in drawn.parts for s in part.shapes)

    outlines = [outline(kind) for kind in TABLES[organ]]
    assert len(set(outlines)) == len(outlines)


def test_the_seed_decides():
    assert family(5, 4) == family(5, 4)
    assert family(5, 4)[0] != family(6, 4)[0]
    first, again = (creature(family(5, 1)[0], Look.random(random.Random(2))) for _ in range(2))
    for part, same in zip(first.parts, again.parts, strict=True):
        assert all(
            (a.vertices == b.vertices).all() for a, b in zip(part.shapes, same.shapes, strict=True)
        )


@pytest.mark.parametrize("seed", range(30))
def test_look_alikes_differ_in_two_to_four_things_and_proportions(seed):
    first, *lookalikes = family(seed, 4)
    for other in lookalikes:
        different = first.differences(other)
        proportions = {name for group, name in different if group == "sizes"}
        assert proportions in (set(), {"girth", "head", "face"})
        visible = {(group, name) for group, name in different if group != "sizes"}
        assert 2 <= len(visible) <= 4
        organs = {name for group, name in visible if group == "kinds"}
        assert organs <= TABLES.keys() - {"plan", "limbs"}
        colours = {name for group, name in visible if group == "colours"}
        assert colours <= {"main", "second", "accent"}
        for role in colours:
            step = np.subtract(first.colours[role], other.colours[role])
            assert np.linalg.norm(step) > VISIBLE_STEP
    assert all(a.differences(b) for a in lookalikes for b in lookalikes if a is not b)


def test_a_look_changes_the_drawing_and_not_the_genome():
    genome = family(3, 1)[0]
    kinds = dict(genome.kinds)
    front, side = creature(genome), creature(genome, Look(yaw=0.9))
    assert genome.kinds == kinds
    shared = {part.name for part in front.parts} & {part.name for part in side.parts}
    assert "head" in shared
    assert any(
        not np.array_equal(a.vertices, b.vertices)
        for name in shared
        for a, b in zip(_part(front, name).shapes, _part(side, name).shapes, strict=True)
    )


def test_no_creature_has_the_colours_of_a_species_of_the_catalogue():
    def fills(drawn: species.Species) -> frozenset:
        return frozenset(shape.fill for part in drawn.parts for shape in part.shapes)

    catalogue = {fills(drawn) for drawn in species.catalogue().values()}
    for seed in range(50):
        assert fills(creature(family(seed, 1)[0])) not in catalogue


def _part(drawn: species.Species, name: str) -> species.Part:
    return next(part for part in drawn.parts if part.name == name)
