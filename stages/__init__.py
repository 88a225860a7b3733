"""The DVC stages, one module each.

A stage reads parameters and files, calls one function, and writes files.
"""

from pokecam.common import running

running.prepare_stage()
