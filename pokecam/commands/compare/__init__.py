"""Experiments beside one another."""
