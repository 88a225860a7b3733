"""How benchmarks print figures with their intervals."""

import pandas as pd


def with_interval(figure: object, digits: int = 3, sign: str = "") -> str:
    """Write a figure that has `value`, `low` and `high`; with the sign "+" also positive signs."""
    value, low, high = (f"{v:{sign}.{digits}f}" for v in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})"


def wide(table: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    """Return a table with a row for each value of `rows` and a column for each measure.

    Args:
        table: the columns `rows`, measure, value, low and high.
        rows: names of columns.
    """
    numbers = table.astype(dict.fromkeys(("value", "low", "high"), float))
    figures = table.assign(figure=[with_interval(row) for row in numbers.itertuples()])
    return figures.pivot(index=rows, columns="measure", values="figure")
