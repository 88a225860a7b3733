"""Tests; they mirror the modules of pokecam."""
