"""The DVC stages, one module each: read parameters and files, call one function, write files."""

from pokecam.common import running

running.prepare_stage()
