"""How benchmarks print figures with their intervals."""

import pandas as pd


def told(found: object) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def wide(table: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    """A row for each of `rows`, a column for each measure. table: also has value, low and high."""
    numbers = table.astype(dict.fromkeys(("value", "low", "high"), float))
    shown = table.assign(figure=[told(row) for row in numbers.itertuples()])
    return shown.pivot(index=rows, columns="measure", values="figure")
