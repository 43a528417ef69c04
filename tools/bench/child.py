"""What must be measured in a process of its own: opening, resident memory, ingest.

A task is a JSON object, given as the only argument; the answer is one JSON object on the last line of the output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.errors import ChildError, WrongValuesError

__all__ = ["ask", "main"]

_WORK = 8
_WORK_S = 5.0
_CORES = 2
_LOOKS = 200


def ask(task: dict[str, Any], timeout_s: float = 3600.0) -> dict[str, float]:
    """Run a task in a fresh process of this Python.

    Raises:
        ChildError: it failed; the message is the last line that it wrote.
    """
    command = [sys.executable, "-m", "tools.bench.child", json.dumps(task)]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=root)
    if done.returncode:
        raise ChildError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main(argument: str) -> None:
    """Do a task and print the answer."""
    task = json.loads(argument)
    tasks: dict[str, Callable[..., dict[str, float]]]
    tasks = {
        "open": _open,
        "ingest": _ingest,
        "grow": _grow,
        "look": _look,
        "refocus": _refocus,
        "fill": _fill,
        "stream": _stream,
        "vast": _vast,
    }
    answer = tasks[task.pop("task")](**task)
    print(json.dumps(answer))


def _memory() -> dict[str, float]:
    """Memory of this process in MiB: its own (`anon`), pages of files that it has mapped (`file`), the `peak` of both.

    The kernel's figures, since `getrusage` also counts what the process was before it became this program.
    """
    keys = {"RssAnon": "anon", "RssFile": "file", "VmHWM": "peak"}
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key in keys:
            found[keys[key]] = int(value.split()[0]) / 1024
    return found


def _sizes(values: dict[str, Any]) -> Any:
    from tools.bench.sizes import Sizes  # noqa: PLC0415 - what a task loads is part of what it measures

    return Sizes.from_dict(values)


def _open(peer: str, sizes: dict[str, Any], folder: str, reads: list[str]) -> dict[str, float]:
    """Import, open, read a little; then read more, and see what memory that took."""
    from tools.bench import contenders  # noqa: PLC0415
    from tools.bench.data import Plans  # noqa: PLC0415

    s = _sizes(sizes)
    store = next(store for store in contenders.stores(s) if store.about.name == peer)
    plans = Plans.draw(s)
    gists = np.zeros((s.gathered, s.dim), np.float16)
    windows = np.zeros((s.windows, s.window), np.uint32)
    began = time.perf_counter()
    store.about.load()
    imported = time.perf_counter()
    reader = store.open(Path(folder))
    if "gather" in reads:
        reader.gather(plans.rows[0][:1], gists[:1])
    else:
        reader.windows(plans.windows[0][:1], windows[:1])
    opened = time.perf_counter()
    first = _memory()
    for k in range(_WORK):
        if "gather" in reads:
            reader.gather(plans.rows[k % s.plans], gists)
        if "windows" in reads:
            reader.windows(plans.windows[k % s.plans], windows)
        if time.perf_counter() - opened > _WORK_S:
            break
    then = _memory()
    reader.close()
    return {
        "import_s": imported - began,
        "open_s": opened - imported,
        "anon_open": first["anon"],
        "anon_work": then["anon"],
        "file_work": then["file"],
    }


def _ingest(ingester: str, sizes: dict[str, Any], corpus: str, tokenizer: str, folder: str) -> dict[str, float]:
    """Ingest on two cores."""
    from tools.bench import contenders  # noqa: PLC0415

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    found = next(one for one in contenders.ingesters(_sizes(sizes)) if one.about.name == ingester)
    done = found.ingest(Path(corpus), Path(tokenizer), Path(folder))
    return {"seconds": done.seconds, "tokens": done.tokens, "peak": _memory()["peak"]}


def _grow(grower: str, sizes: dict[str, Any], folder: str, positions: int) -> dict[str, float]:
    """Make a store of so many positions."""
    from tools.bench import contenders  # noqa: PLC0415

    found = next(one for one in contenders.growers(_sizes(sizes)) if one.about.name == grower)
    began = time.perf_counter()
    found.grow(Path(folder), positions)
    return {"seconds": time.perf_counter() - began}


def _look(grower: str, sizes: dict[str, Any], folder: str, positions: int) -> dict[str, float]:
    """Open a store of so many positions, find nodes, make the smallest cover."""
    from tools.bench import contenders  # noqa: PLC0415

    found = next(one for one in contenders.growers(_sizes(sizes)) if one.about.name == grower)
    found.about.load()
    began = time.perf_counter()
    store = found.open(Path(folder))
    opened = time.perf_counter() - began
    places = np.random.default_rng(0).integers(0, positions, _LOOKS).tolist()
    find: list[float] = []
    for place in places:
        began = time.perf_counter()
        index = store.find(place)
        find.append(time.perf_counter() - began)
        if index != place // 32:
            raise WrongValuesError(f"position {place} is found in block {index}, not in {place // 32}")
    cover: list[float] = []
    entries = 0
    for _ in range(_LOOKS // 10):
        began = time.perf_counter()
        entries = store.cover()
        cover.append(time.perf_counter() - began)
    store.close()
    return {
        "open_s": opened,
        "find_s": float(np.median(find)),
        "cover_s": float(np.median(cover)),
        "entries": entries,
    }


def _refocus(sizes: dict[str, Any], folder: str) -> dict[str, float]:
    """Step a working context over a store, and build its arrays; both ways by turns, after they agreed on each step."""
    from tools.bench.stepping import measure  # noqa: PLC0415

    return measure(_sizes(sizes), Path(folder))


def _fill(sizes: dict[str, Any], folder: str) -> dict[str, float]:
    """Make the store that is streamed from."""
    from tools.bench.streamed import make  # noqa: PLC0415

    make(_sizes(sizes), Path(folder))
    return {}


def _stream(sizes: dict[str, Any], folder: str) -> dict[str, float]:
    """Let a working context wander over a store, once for each way to get its rows."""
    from tools.bench.streamed import measure  # noqa: PLC0415

    return measure(_sizes(sizes), Path(folder))


def _vast(side: int, square: int, coarse: bool, folder: str) -> dict[str, float]:
    """Add an image of which little is there, look at it and change it."""
    from tools.bench.ours_images import measure  # noqa: PLC0415

    return {**measure(side, square, coarse, Path(folder)), "peak": _memory()["peak"]}


if __name__ == "__main__":
    main(sys.argv[1])
