"""The peak memory of a process."""

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes.

    On Linux it is read from /proc. `getrusage` is wrong there: a program inherits the peak of the
    program that started it.
    """
    if STATUS.exists():
        peak = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), flags=re.MULTILINE)
        return int(peak[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
