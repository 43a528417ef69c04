"""What if files are lost, cut, resized, swapped, or put back from before?  Every file of a small store, in every way.

Each time a copy of the store is damaged and looked at by a child.  It has to refuse to open, or `verify` has to tell of
it, with the node that is hit where a file of rows is; or whatever it shows has to be what it was.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

from tools.crash.damage import Verdict, looked_at_in_child
from tools.crash.parts import Row
from tools.crash.specimen import Specimen, is_advisory, kind_of

__all__ = ["Change", "changes_of", "mislay", "some_of"]

_MORE = 1 << 16

_TURNS = 3
"""In the quick form, so many things are done to each kind of file."""


@dataclass(frozen=True, slots=True)
class Change:
    """What can be done to a store.

    Attributes:
        file: the file, or the folder, that is hit.
        act: what is done, whatever it is done to.
        what: all of it, in words.
        do: damages the store at a path.
    """

    file: str
    act: str
    what: str
    do: Callable[[str], None]


def mislay(specimen: Specimen, stages: list[Path], *, all_of_it: bool = True) -> Row:
    """Do all of it, or to each kind of file one thing, and each thing to some.

    Args:
        specimen: the store.
        stages: copies of it from before.
        all_of_it: do everything to every file.
    """
    row = Row("files lost, cut, resized, swapped, put back")
    found = 0
    changes = list(changes_of(specimen, stages))
    for change in changes if all_of_it else some_of(changes):
        copy = shutil.copytree(specimen.path, f"{specimen.path}.copy")
        try:
            change.do(copy)
            verdict = looked_at_in_child(copy, specimen, change.file)
        finally:
            shutil.rmtree(copy)
        row.points += 1
        found += verdict in (Verdict.FOUND, Verdict.REFUSED)
        if verdict not in _allowed(change.file):
            row.failures.append(f"{change.what}: {verdict.name.lower().replace('_', ' ')}")
    row.notes = f"{found} found, {row.points - found - len(row.failures)} harmless"
    return row


def some_of(changes: list[Change], turns: int = _TURNS) -> Iterator[Change]:
    """Of what can be done, something to each kind of file and everything to some file.

    Kinds take turns, and to each is done what was done least so far.
    """
    kinds: dict[str, list[Change]] = {}
    for change in changes:
        kinds.setdefault(kind_of(change.file), []).append(change)
    done: Counter[str] = Counter()
    for _ in range(turns):
        for rest in filter(None, kinds.values()):
            chosen = min(rest, key=lambda change: done[change.act])
            done[chosen.act] += 1
            rest.remove(chosen)
            yield chosen


def _allowed(file: str) -> set[Verdict]:
    allowed = {Verdict.HARMLESS, Verdict.REFUSED}
    if not is_advisory(file):
        allowed.add(Verdict.FOUND)
    return allowed


def changes_of(specimen: Specimen, stages: list[Path]) -> Iterator[Change]:
    """All that can be done."""
    for file in specimen.files:
        size = specimen.size(file)
        yield Change(file, "lost", f"{file} is lost", partial(_lose, file))
        yield Change(file, "folder", f"{file} is a folder", partial(_turn_into_folder, file))
        yield Change(file, "zeros", f"{file} is all zeros", partial(_put, file, bytes(size)))
        sizes = {"empty": 0, "one byte": 1, "half": size // 2, "less": size - 1, "more": size + 1, "long": size + _MORE}
        for act, wanted in sizes.items():
            if wanted >= 0 and wanted != size:
                what = f"{file} has {wanted} bytes instead of {size}"
                yield Change(file, act, what, partial(_resize, file, wanted))
        now = Path(specimen.path, file).read_bytes()
        older = {(stage / file).read_bytes() for stage in stages if (stage / file).is_file()} - {now}
        for content in sorted(older):
            yield Change(file, "put back", f"{file} is put back from before", partial(_put, file, content))
    for one, other in combinations(specimen.files, 2):
        if specimen.size(one) == specimen.size(other) and one.rpartition(".")[2] != "mdb":
            rows = specimen.naming.rows
            hit = one if one in rows or (other not in rows and is_advisory(other)) else other
            yield Change(hit, "swapped", f"{one} and {other} are swapped", partial(_swap, one, other))
    for folder in sorted({os.path.dirname(file) for file in specimen.files} - {""}):
        yield Change(folder, "folder lost", f"{folder} is lost", partial(_lose, folder))


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
