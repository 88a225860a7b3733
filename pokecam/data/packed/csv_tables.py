"""Reading csv files: those of the stages, and those that come from elsewhere."""

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pandas as pd

from pokecam.common.errors import InputError

MAX_FOREIGN_MIB = 32  # about half a million lines; reading takes up to 30 times that in memory


def read_table(path: Path | IO[bytes]) -> pd.DataFrame:
    """Read a csv that a stage wrote.

    File and class names stay text, even if they look like something else ("NA", "007").
    """
    texts = dict.fromkeys(
        ("file", "image", "label", "predicted", "against", "part", "subset", "reason"), str
    )
    return pd.read_csv(path, dtype=texts, keep_default_na=False, encoding="utf-8")


def read_foreign(data: bytes, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a csv that any person or program may have written.

    The text is UTF-8, or UTF-16 with a byte order mark, with any line ends. Commas, semicolons or
    tabs separate the fields: the one of which the header has most. Accents are composed (NFC).

    Args:
        data: the content of the file.
        name: the name of the file, for messages.
        columns: the columns to read.

    Returns:
        These columns in this order, all values as text. The index is the line in the file, from 1.

    Raises:
        InputError: the file is larger than `MAX_FOREIGN_MIB`, is not such a text or not a csv, a
            column is missing or occurs twice, or a line and the header have different numbers of
            fields.
    """
    lines = _lines(data, name)
    _, header = next(lines, (0, []))
    header = [title.strip() for title in header]
    for column in columns:
        if header.count(column) != 1:
            raise InputError(
                f"{name} has {'more than one' if column in header else 'no'} column {column}: its "
                f"first line must name each of the columns {', '.join(columns)} once"
            )
    positions = [header.index(column) for column in columns]
    rows, numbers = [], []
    for number, fields in lines:
        if len(fields) != len(header):
            raise InputError(
                f"{name}: line {number} has {len(fields)} fields, the header {len(header)}: all "
                "lines need the same number; put quotes around a field that holds the separator"
            )
        rows.append([fields[position] for position in positions])
        numbers.append(number)
    return pd.DataFrame(rows, index=numbers, columns=list(columns), dtype=str)


def _lines(data: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each row that is not empty."""
    if len(data) > MAX_FOREIGN_MIB * 2**20:
        raise InputError(
            f"{name} has {len(data) / 2**20:.0f} MiB, {MAX_FOREIGN_MIB} are read: remove rows or "
            "columns that are not needed"
        )
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = unicodedata.normalize("NFC", data.decode("utf-16" if is_utf16 else "utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text: save it as csv in UTF-8") from None
    if "\0" in text:
        raise InputError(f"{name} holds a NUL character: save it as csv in UTF-8")
    header = next(filter(None, text.splitlines()), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(f"{name} is not a readable csv: line {reader.line_num}: {error}") from None
