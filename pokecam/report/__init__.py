"""The report: what it shows (`page`), how it is drawn (`sheets`, `figures`), and its files."""
