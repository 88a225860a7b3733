"""boxes.csv as users write it: it is read correctly, or refused in one line."""

import io
import zipfile

import pytest

from pokecam.common.errors import InputError
from pokecam.data.packed.letterbox import fit
from pokecam.data.packing import tables

FILES = ["Ant/0.png", "Flabébé/a, b.png"]
HEADER = "image,label,xmin,ymin,xmax,ymax"
GOOD = f"{HEADER}\nAnt/0.png,Ant,64,16,96,32\n"


def packed(data: str | bytes) -> list[list]:
    """Return the packed boxes of a boxes.csv, [image, label, corners …].

    Images of 128 × 64 pixels become 64 × 32, 16 rows down.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("boxes.csv", data if isinstance(data, bytes) else data.encode())
    rows = [tables.PackedRow(file, 128, 64, fit(128, 64, 64), None) for file in FILES]
    boxes = tables.read_source_table(zipfile.ZipFile(archive), "boxes.csv")
    return tables.packed_boxes(boxes, rows, FILES).values.tolist()


@pytest.mark.parametrize(
    "table",
    [
        GOOD,
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        f"{HEADER}\r\nAnt/0.png,Ant,64,16,96,32\rAnt/0.png,Ant,64,16,96,32\n\n",
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        "\n\n" + GOOD,
        "image, label, xmin, ymin, xmax, ymax\nAnt/0.png,Ant, 64,16 , 96.0,3.2e1\n",
        '"image","label",xmin,ymin,xmax,"ymax"\n"Ant/0.png","Ant","64",16,96,"32"\n',
        "ymax,note,xmax,ymin,xmin,label,image\n32,a;b;c,96,16,64,Ant,Ant/0.png\n",
        f"{HEADER},{','.join(f'c{i}' for i in range(5000))}\n"
        f"Ant/0.png,Ant,64,16,96,32{',' * 5000}\n",
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
    ],
)
def test_tables_of_all_programs_are_read_alike(table):
    """(64, 16)–(96, 32) becomes (32, 24)–(48, 32)."""
    assert packed(table) == [["Ant/0.png", "Ant", 32, 24, 48, 32]]


def test_a_table_without_lines_has_no_boxes():
    assert packed(HEADER) == []


def test_all_boxes_of_an_image_are_used_and_a_box_that_is_listed_twice_once():
    table = GOOD + "Ant/0.png,Ant,0,0,8,8\n" + "Ant/0.png,Ant,64.0,16,96,32\n"
    assert [row[2:] for row in packed(table)] == [[32, 24, 48, 32], [0, 16, 4, 20]]


def test_names_with_commas_and_accents_of_either_form():
    table = f'{HEADER}\n"Flabe\u0301be\u0301/a, b.png",Flabe\u0301be\u0301,0,0,128,64\n'
    assert packed(table) == [["Flabébé/a, b.png", "Flabébé", 0, 16, 64, 48]]


@pytest.mark.parametrize("corners", ["-1,-0.6,128.99,65", "-0.01,0,129,64.5", "0,0,128,64"])
def test_up_to_one_pixel_beyond_the_image_is_rounding_and_cut_off(corners):
    table = f"{HEADER}\nAnt/0.png,Ant,{corners}\n"
    assert packed(table) == [["Ant/0.png", "Ant", 0, 16, 64, 48]]


def line(corners: str, image="Ant/0.png", label="Ant") -> str:
    return f"{HEADER}\n{image},{label},{corners}\n"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "no column image"),
        ("image,label,xmin,ymin,xmax\n", "no column ymax"),
        ("a,b\n1,2\n", "no column image"),
        (GOOD.replace("xmax", "xmin"), "more than one column xmin"),
        (line("1,2,3"), "line 2 has 5 fields, the header 6"),
        (line("1,2,3,4,5"), "line 2 has 7 fields, the header 6"),
        (line("1,5,2,5,3,5,4,5"), "line 2 has 10 fields"),
        (line("nan,2,3,4"), "line 2: the box of Ant/0.png is nan, 2, 3, 4, not four numbers"),
        (line("1,2,inf,4"), "is 1, 2, inf, 4, not four numbers"),
        (line("-inf,2,3,4"), "not four numbers"),
        (line("1,2,1e999,4"), "not four numbers"),
        (line(",2,3,4"), "is , 2, 3, 4, not four numbers"),
        (line("1_0,2,30,4"), "not four numbers"),
        (line("one,2,3,4"), "not four numbers"),
        (line("5,2,5,4"), "is 5, 2, 5, 4, not four numbers xmin < xmax"),
        (line("1,4,3,2"), "not four numbers"),
        (line('"1,5",2,3,4'), "with a point before decimals"),
        (line("1,2,3,5000"), "line 2: ymax = 5000 lies outside Ant/0.png, which has 128×64 pixels"),
        (line("1,2,3,65.1"), "ymax = 65.1 lies outside"),
        (line("1,-1.1,3,4"), "ymin = -1.1 lies outside"),
        (line("128,0,200,9"), "xmin = 128 lies outside"),
        (line("128,0,129,9"), "xmin = 128 lies outside"),
        (line("-9,0,0,9"), "xmin = -9 lies outside"),
        (line("-1,0,0,9"), "xmax = 0 lies outside"),
        (line("1,2,1e300,4"), "xmax = 1e+300 lies outside"),
        (line("1,2,300,4"), "write boxes in pixels of the upright original image"),
        (line("0.25,0.5,0.75,1"), "line 2: the box 0.25, 0.5, 0.75, 1 of Ant/0.png looks like"),
        (line("0,0,1,1"), "fractions of its 128×64 pixels: multiply xmin and xmax by its width"),
        (GOOD + "\nAnt/0.png,Ant,0,0,.5,.5\n" * 2, "line 4: the box 0, 0, 0.5, 0.5 (and 1 more)"),
        (
            line("1,2,3,4", image="0.png"),
            "line 2: a box for '0.png', which is not an image of the source",
        ),
        (line("1,2,3,4", image=""), "a box for '', which is not an image"),
        (line("1,2,3,4", label="Bee"), "line 2: the label 'Bee' for Ant/0.png"),
        (GOOD + '"Ant/0.png', "not a readable csv: line 3"),
        (GOOD + '"Ant/0.png"x,Ant,1,2,3,4', "not a readable csv: line 3"),
        (GOOD.encode("utf-16-le"), "holds a NUL"),
        (line("1,2,3,4", image="é/a.png").encode("latin-1"), "not UTF-8 text: save it as csv"),
        (b"\xff\xfe\x00\xd8\x00", "not UTF-8 text"),
        (GOOD + '"' + "x" * 200_000 + '"', "not a readable csv: line 3"),
        (b"x" * (2**25 + 1), "has 32 MiB, 32 are read"),
    ],
    ids=range(39),
)
def test_a_table_that_cannot_be_used_is_one_line(table, expected):
    with pytest.raises(InputError) as error:
        packed(table)
    message = str(error.value)
    assert message.startswith("boxes.csv of the source")
    assert expected in message
    assert len(message.splitlines()) == 1
