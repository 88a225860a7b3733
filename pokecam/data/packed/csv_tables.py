"""Reading csv files: those that stages wrote, and those that anybody may have written."""

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pandas as pd

from pokecam.common.errors import InputError

MAX_FOREIGN_MIB = 32  # of a table, half a million lines; it takes up to 30 times that in memory


def read_table(path: Path | IO[bytes]) -> pd.DataFrame:
    """Read a csv whose file and class names stay text, whatever they look like ("NA", "007")."""
    texts = dict.fromkeys(
        ("file", "image", "label", "predicted", "against", "part", "subset", "reason"), str
    )
    return pd.read_csv(path, dtype=texts, keep_default_na=False, encoding="utf-8")


def read_foreign(data: bytes, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of a csv that anybody may have written or saved, all of it text.

    UTF-8, or UTF-16 with its mark; lines end in any way; fields are divided by commas, semicolons
    or tabs, whichever the header has most of; accents get their one form. `name` is for messages.
    Raises `InputError` if it is no such text, or a column is missing or there twice, or a line has
    another number of fields than the header.
    """
    lines = _lines(data, name)
    number, header = next(lines, (0, []))
    header = [title.strip() for title in header]
    for column in columns:
        if header.count(column) != 1:
            raise InputError(
                f"{name} has {'more than one' if column in header else 'no'} column {column}: in "
                f"its first line the columns {', '.join(columns)} are needed, once each"
            )
    places = [header.index(column) for column in columns]
    rows = []
    for number, fields in lines:
        if len(fields) != len(header):
            raise InputError(
                f"{name}: line {number} has {len(fields)} fields, the header {len(header)}: give "
                "every line as many, with quotes around a field that holds the separator"
            )
        rows.append([fields[place] for place in places])
    return pd.DataFrame(rows, columns=list(columns), dtype=str)


def _lines(data: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of the lines of a csv that are not empty."""
    if len(data) > MAX_FOREIGN_MIB * 2**20:
        raise InputError(
            f"{name} has {len(data) / 2**20:.0f} MiB, {MAX_FOREIGN_MIB} are read: leave out what "
            "is not needed"
        )
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = unicodedata.normalize("NFC", data.decode("utf-16" if wide else "utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text: save it as csv in UTF-8") from None
    if "\0" in text:
        raise InputError(f"{name} holds a NUL, which no text does: save it as csv in UTF-8")
    header = next(filter(None, text.splitlines()), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(f"{name} is not a readable csv: line {reader.line_num}: {error}") from None
