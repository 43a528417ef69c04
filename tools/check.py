"""Is everything as it should be?  Every check and test of the project, by one command, in the order of their cost.

    python tools/check.py            all
    python tools/check.py --fast     all but the tests

What a check prints is shown only if it fails; the tests print as they go.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "imports": ["lint-imports"],
    "types": ["mypy"],
}


def main() -> int:
    """Run the checks; returns how many failed."""
    parser = argparse.ArgumentParser(description="Run every check and test of mctree.")
    parser.add_argument("--fast", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    failed = [name for name, command in CHECKS.items() if not run(name, command)]
    if not options.fast:
        workers = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        tests = [sys.executable, "-m", "pytest", "-n", workers, "--dist", "worksteal"]
        # Tests start hundreds of processes: none of them compiles again what it imports, and each has one core.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["OMP_NUM_THREADS"] = "1"
        if subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode:
            failed.append("tests")
    print("all checks passed" if not failed else f"failed: {', '.join(failed)}")
    return len(failed)


def run(name: str, command: list[str]) -> bool:
    """Run one check; show what it printed if it failed."""
    program = shutil.which(command[0], path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        print(f"{name}: {command[0]} is missing; install the extra `dev`")
        return False
    start = time.monotonic()
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{name}: {'ok' if not done.returncode else 'FAILED'} ({time.monotonic() - start:.1f} s)", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr)
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main())
