"""What if files are lost, cut, resized, swapped, or put back from before?  Every file of a small store, in every way.

Each time a copy of the store is damaged and looked at by a child.  It has to refuse to open, or `verify` has to tell of
it, with the node that is hit where a file of rows is; or whatever it shows has to be what it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, islice
from pathlib import Path

from tools.crash.damage import Verdict, looked_at_in_child
from tools.crash.parts import Row
from tools.crash.specimen import ADVISORY, Specimen

__all__ = ["mislay"]

_MORE = 1 << 16

Change = Callable[[str], None]
"""Damages the store at a path."""


def mislay(specimen: Specimen, stages: list[Path], every: int = 1) -> Row:
    """Do all of it, or one of `every` so many things.

    Args:
        specimen: the store.
        stages: copies of it from before.
        every: of how many things one is done.
    """
    row = Row("files lost, cut, resized, swapped, put back")
    found = 0
    for file, what, change in islice(_changes(specimen, stages), 0, None, every):
        copy = shutil.copytree(specimen.path, f"{specimen.path}.copy")
        try:
            change(copy)
            verdict = looked_at_in_child(copy, specimen, file)
        finally:
            shutil.rmtree(copy)
        row.points += 1
        found += verdict in (Verdict.FOUND, Verdict.REFUSED)
        if verdict not in _allowed(file):
            row.failures.append(f"{what}: {verdict.name.lower().replace('_', ' ')}")
    row.notes = f"{found} found, {row.points - found - len(row.failures)} harmless"
    return row


def _allowed(file: str) -> set[Verdict]:
    allowed = {Verdict.HARMLESS, Verdict.REFUSED}
    if file not in ADVISORY:
        allowed.add(Verdict.FOUND)
    if file.endswith("zarr.json"):
        allowed.add(Verdict.FALSE_ALARM)  # other readers go by it; mctree does not
    return allowed


def _changes(specimen: Specimen, stages: list[Path]) -> Iterator[tuple[str, str, Change]]:
    """The file that is hit, what is done to it, and how."""
    for file in specimen.files:
        size = specimen.size(file)
        yield file, f"{file} is lost", partial(_lose, file)
        yield file, f"{file} is a folder", partial(_turn_into_folder, file)
        yield file, f"{file} is all zeros", partial(_put, file, bytes(size))
        for wanted in sorted({0, 1, size // 2, size - 1, size + 1, size + _MORE} - {size}):
            if wanted >= 0:
                yield file, f"{file} has {wanted} bytes instead of {size}", partial(_resize, file, wanted)
        now = Path(specimen.path, file).read_bytes()
        older = {(stage / file).read_bytes() for stage in stages if (stage / file).is_file()} - {now}
        for content in sorted(older):
            yield file, f"{file} is put back from before", partial(_put, file, content)
    for one, other in combinations(specimen.files, 2):
        if specimen.size(one) == specimen.size(other) and one.rpartition(".")[2] != "mdb":
            hit = one if one in specimen.places else other
            yield hit, f"{one} and {other} are swapped", partial(_swap, one, other)
    for folder in sorted({os.path.dirname(file) for file in specimen.files} - {""}):
        yield folder, f"{folder} is lost", partial(_lose, folder)


def _lose(name: str, root: str) -> None:
    path = f"{root}/{name}"
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _turn_into_folder(file: str, root: str) -> None:
    _lose(file, root)
    os.mkdir(f"{root}/{file}")


def _put(file: str, content: bytes, root: str) -> None:
    Path(root, file).write_bytes(content)


def _resize(file: str, size: int, root: str) -> None:
    os.truncate(f"{root}/{file}", size)


def _swap(one: str, other: str, root: str) -> None:
    os.rename(f"{root}/{one}", f"{root}/aside")
    os.rename(f"{root}/{other}", f"{root}/{one}")
    os.rename(f"{root}/aside", f"{root}/{other}")
