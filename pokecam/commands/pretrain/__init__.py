"""Pretraining on chimeras, drawn creatures of no species; no stage imports it."""
