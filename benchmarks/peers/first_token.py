"""Run a command and print its seconds and peak memory in bytes as JSON: `python first_token.py COMMAND …`.

A process of its own, because a child's peak counts what its parent held when it was started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Run it, its output thrown away; end as it ends."""
    start = time.perf_counter()
    child = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps([seconds, usage.ru_maxrss * unit]))
    sys.exit(child.returncode)


if __name__ == "__main__":
    main()
