"""How long do the tests of the promises take in the suite?  They are run as it runs them, on all cores, and measured.

Time on the clock says little on a machine that others use as well, so processor time is measured too: of every process
that a test has started, also of those that nobody waited for, as whoever measures takes them over.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["FOLDER", "Suite", "measure"]

FOLDER = "tests/promises"
_ROOT = Path(__file__).resolve().parents[2]
_BE_REAPER = 36


@dataclass(frozen=True, slots=True)
class Suite:
    """What the tests of the promises took.

    Attributes:
        passed: how many tests passed.
        failed: how many did not.
        seconds: on the clock.
        processor: seconds of processor time, of all cores together.
        cores: on how many.
    """

    passed: int
    failed: int
    seconds: float
    processor: float
    cores: int

    def __str__(self) -> str:
        failed = f" (**{self.failed}** failed)" if self.failed else ""
        return (
            f"`{FOLDER}` in the suite: {self.passed + self.failed} tests{failed}, {self.seconds:,.0f} s on "
            f"{self.cores} cores, which were busy with them for {self.processor:,.0f} s altogether"
        )


def measure(folder: str = FOLDER, workers: int | None = None) -> Suite:
    """Run the tests in a folder of this project, in a process that takes over what they leave.

    Args:
        folder: which.
        workers: how many processes run tests; as many as there are cores if None.

    Raises:
        RuntimeError: no tests were run.
    """
    cores = len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", __name__, folder, f"{cores}", f"{cores if workers is None else workers}"]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"the tests in {folder} were not run")
    return Suite(**json.loads(done.stdout))


def _measured(folder: str, cores: str, workers: str) -> Suite:
    ctypes.CDLL(None).prctl(_BE_REAPER, 1)
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-n", workers, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)  # those that outlived who started them
    print("\n".join(re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.M)), file=sys.stderr)
    last = done.stdout.strip().rpartition("\n")[2]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|errors?)", last)}
    if not counts:
        raise RuntimeError(f"{done.stdout[-400:]}{done.stderr[-400:]}")
    return Suite(counts.pop("passed", 0), sum(counts.values()), seconds, _processor(), int(cores))


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(asdict(_measured(*sys.argv[1:]))))
