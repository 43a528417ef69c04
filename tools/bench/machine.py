"""On what machine, with which versions, was it measured?  No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tools.bench.resident import may_lock

__all__ = ["DISTRIBUTIONS", "Machine", "describe"]

DISTRIBUTIONS = (
    "numpy",
    "lmdb",
    "zarr",
    "numcodecs",
    "tensorstore",
    "h5py",
    "pylance",
    "pyarrow",
    "datasets",
    "tokenizers",
    "google-crc32c",
    "pillow",
    "pyvips",
    "pyvips-binary",
    "openslide-bin",
    "tifffile",
    "imagecodecs",
    "ome-zarr",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a run.

    Attributes:
        cpu: the processor's own name.
        cores: how many this process may use.
        memory_gib: all of it.
        kernel: its release.
        filesystem: the type of the one that holds the scratch folder.
        huge_pages: the setting of transparent huge pages.
        locked: whether files could be locked in memory while they were read.
        python: version.
        libraries: distribution and version, `not installed` where it is not.
    """

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    filesystem: str
    huge_pages: str
    locked: bool
    python: str
    libraries: tuple[tuple[str, str], ...]


def describe(scratch: Path) -> Machine:
    """Describe this machine, as far as it tells."""
    return Machine(
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        filesystem=_filesystem(scratch),
        huge_pages=_selected("/sys/kernel/mm/transparent_hugepage/enabled"),
        locked=may_lock(),
        python=platform.python_version(),
        libraries=tuple((name, _version(name)) for name in DISTRIBUTIONS),
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(path: str, name: str) -> str:
    for line in _text(path).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _selected(path: str) -> str:
    """The choice that a file of the kernel's puts in brackets."""
    _, _, rest = _text(path).partition("[")
    return rest.partition("]")[0] or "unknown"


def _filesystem(folder: Path) -> str:
    """The type of the file system below which `folder` lies: that of the longest mount point above it."""
    path = str(folder.resolve())
    found, longest = "unknown", -1
    for line in _text("/proc/mounts").splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= longest:
            found, longest = fields[2], len(point)
    return found
