"""The report: its content (`page`), its images (`sheets`, `figures`), and its files (`write`)."""
