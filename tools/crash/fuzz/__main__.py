"""The fuzzer: `python -m tools.crash.fuzz [TARGET…] [--seconds N] [--keep]`.

Each target gets so many seconds of atheris, which changes inputs and keeps what reaches code that nothing has reached,
in a process of its own: a crash, a leak or a hang ends that one.  With `--keep`, the corpus in the project becomes the
smallest set of inputs that reaches as much as all together, and everything that broke something.

Exit status: 0 if nothing broke, 1 if something did; it is named, and kept in `corpora`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.crash.fuzz.corpus import keep, kept
from tools.crash.fuzz.targets import TARGETS, Target

__all__ = ["Hunt", "hunt", "main"]

_HANG, _MEMORY = 25, 2048
"""Seconds and MiB that one input may take."""
_MOST_SEEDS = 100
_FUZZED = ("mctree", "mctree_torch", "msgpack")


@dataclass(frozen=True, slots=True)
class Hunt:
    """What fuzzing one target came to.

    Attributes:
        inputs: how many were tried.
        broke: the inputs that broke something.
        said: what the fuzzer said last of them.
    """

    inputs: int
    broke: tuple[bytes, ...]
    said: str


def hunt(name: str, seconds: int, *, keeping: bool = False, beside: Path | None = None) -> Hunt:
    """Fuzz one target.

    Args:
        name: which.
        seconds: for how long.
        keeping: make what was found the corpus in the project.
        beside: a folder of modules that go before all others, where it is to be seen whether a fault is found.
    """
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        found, least, broke = (Path(scratch) / part for part in ("found", "least", "broke"))
        for folder in (found, least, broke):
            folder.mkdir()
        seeds = list(target.seeds())
        for i, data in enumerate([*seeds[:: -(-len(seeds) // _MOST_SEEDS)], *kept(name)]):
            (found / f"{i}").write_bytes(data)
        options = (f"-max_len={target.longest}", f"-timeout={_HANG}", f"-rss_limit_mb={_MEMORY}")
        arguments = [*options, f"-max_total_time={seconds}", f"-artifact_prefix={broke}/", str(found)]
        done = _fuzzer(name, arguments, beside)
        breaking = tuple(path.read_bytes() for path in sorted(broke.iterdir()))
        if keeping:
            if not done.returncode:
                _fuzzer(name, [*options, "-merge=1", str(least), str(found)])
            keep(name, [*(path.read_bytes() for path in least.iterdir()), *breaking])
        lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
        counts = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
        tail = (
            "\n".join(line for line in lines if not line.startswith(("#", "INFO", "WARNING", "stat::")))[-2000:]
            if breaking or not counts
            else ""
        )
        return Hunt(int(counts[-1]) if counts else 0, breaking, tail)


def _fuzzer(name: str, arguments: Sequence[str], beside: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tools.crash.fuzz", "--inside", name, "-print_final_stats=1", *arguments]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    if beside is not None:  # as the folder that it runs in, it goes before what is on the path
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[3])
    return subprocess.run(command, capture_output=True, check=False, env=environment, cwd=beside)


def _inside(name: str, arguments: Sequence[str]) -> None:
    """Be the fuzzer; never returns."""
    import atheris  # noqa: PLC0415  # of the extra `dev`, and needed only here

    for module in [module for module in sys.modules if module.partition(".")[0] in (*_FUZZED, "tools")]:
        del sys.modules[module]
    with atheris.instrument_imports(include=list(_FUZZED)):
        from tools.crash.fuzz import targets  # noqa: PLC0415

        target = targets.TARGETS[name]
        target.load()
    # To merge, the fuzzer has the shell run its own command line again.
    myself = f"{shlex.quote(sys.executable)} -m tools.crash.fuzz --inside {name}"
    atheris.Setup([myself, *arguments], partial(_tried, targets.attempt, target))
    atheris.Fuzz()


def _tried(attempt: Callable[[Target, bytes], bool], target: Target, data: bytes) -> None:
    attempt(target, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, fuzz, tell; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--inside"]:
        _inside(given[1], given[2:])
    parser = argparse.ArgumentParser(prog="python -m tools.crash.fuzz", description="Fuzz the decoders of mctree.")
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if none")
    parser.add_argument("--seconds", type=int, default=60, help="of each target (60)")
    parser.add_argument("--keep", action="store_true", help="make what was found the corpus of the project")
    options = parser.parse_args(given)
    if unknown := set(options.target) - TARGETS.keys():
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    broken = 0
    for name in options.target or TARGETS:
        if (lacking := TARGETS[name].lacks) is not None:
            print(f"{name}: passed over, as {lacking} is not installed")
            continue
        found = hunt(name, options.seconds, keeping=options.keep)
        print(f"{name}: {found.inputs} inputs, {len(found.broke)} broke something", flush=True)
        for data in found.broke:
            print(f"{name}: {data[:200]!r}\n{found.said}")
        if not found.inputs and not found.broke:
            print(f"{name}: the fuzzer tried nothing\n{found.said}")
            broken += 1
        broken += len(found.broke)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
