"""Which commits are kept, and what goes with those that are not?

Kept are the newest commits, as many as the store's `keep` setting says, and those that a living process holds.
Collecting takes two steps.  First a commit is *condemned*: from the transaction that does it on it no longer opens.
In a later transaction, after the leases were looked at once more, it is *freed*: whoever held it before it was
condemned is found then.

What a freed commit needed alone is found without looking at everything.  A version of a fact holds over [born, ended);
when it is ended a *grave* under its `ended` remembers it.  Let p < k … k' < m be commits of which k … k' are freed
and p and m are kept, with nothing kept between.  Only versions with p < born and k < ended ≤ m lose their last
reader, and those are one range scan over the graves.

Of an index that has lost a record nothing more goes for it: an encoder stays while a set may be lost that uses it, and
the runs of a document while a version of it is missing.  What is damaged is not taken out, but told of.  What stays so
goes with a compaction.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise

from mctree.errors import CorruptError
from mctree.format.commits import array_layout
from mctree.format.facts import GistSetRecord
from mctree.format.keys import (
    VERSIONED,
    Table,
    checked_key,
    checksum_key,
    commit_key,
    grave_key,
    parse_grave,
    split_version,
    u32,
    u64,
    version_key,
)
from mctree.format.values import describe
from mctree.storage.index import Writing, whole_table

__all__ = ["KEEP", "KEEP_DEFAULT", "Freed", "collect", "forget_all"]

KEEP = b"keep"
"""The setting that says how many of the newest commits are kept (0: all)."""
KEEP_DEFAULT = 64


@dataclass(slots=True)
class Freed:
    """Files that nobody needs any more, to be removed once the transaction that freed them is durable.

    Attributes:
        generations: (array, chunk, generation) of replaced chunks.
        arrays: paths of arrays that were dropped.
    """

    generations: list[tuple[int, int, int]] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)


def collect(index: Writing, keep: int, held: set[int] | None) -> Freed:
    """Condemn the commits that need not be kept, and free those condemned before.

    Args:
        index: the transaction of the commit that is being made, or that is the newest of a copy.
        keep: how many of the newest commits to keep, the one being made included (0: all).
        held: the commits that living processes held when this transaction began (None: unknown, so all of them).

    Returns:
        What to remove from disk.

    Raises:
        CorruptError: a record that would go is damaged, or one that says what goes.
    """
    freed = Freed()
    if held is None:
        return freed
    condemned = _numbers(index, Table.CONDEMNED)
    if condemned and condemned[-1] >= index.number:
        raise CorruptError(f"commit {condemned[-1]} was collected before it was made; run `mctree verify`")
    if not keep and not condemned:
        return freed
    gone = [number for number in condemned if number not in held]
    for number in held.intersection(condemned):
        # Taken between the look at the leases and its condemnation: it may be opened again.
        _move(index, number, Table.CONDEMNED, Table.COMMIT)
    openable = _numbers(index, Table.COMMIT)
    # A key that is damaged ends the list too early, and what the others need would go.  A copy is collected in the
    # name of its newest commit, which is in the list.
    if not {index.number - 1, index.number}.intersection(openable):
        raise CorruptError(f"the index does not list commit {index.number - 1}, the newest; run `mctree verify`")
    # Also those that are held and in neither list, as a record was lost.
    kept = sorted({*openable, *held, index.number})
    for before, first, after in _gaps(gone, kept):
        _free(index, before, first, after, freed)
    for number in gone:
        index.delete(commit_key(Table.CONDEMNED, number))
    if keep:
        # Beside the one that is being made.
        older = [number for number in openable if number < index.number]
        for number in older[: max(len(older) - keep + 1, 0)]:
            if number not in held:
                _move(index, number, Table.COMMIT, Table.CONDEMNED)
    return freed


def forget_all(index: Writing) -> Freed:
    """Free every commit but the one being made, in one step: for a store that nobody else has seen yet.

    Args:
        index: the transaction of that commit.

    Returns:
        What to remove from disk.
    """
    freed = Freed()
    steps = [(number, table) for table in (Table.COMMIT, Table.CONDEMNED) for number in index.commit_numbers(table)]
    if steps:
        _free(index, 0, min(steps)[0], index.number, freed)
    for number, table in steps:
        index.delete(commit_key(table, number))
    return freed


def _numbers(index: Writing, table: Table) -> list[int]:
    """The numbers of all commits of a table, whose records are looked at, too.

    One under another number than its own would free what others need.
    """
    return [u64.unpack(rest)[0] for rest, _ in index.scan(table)]


def _move(index: Writing, number: int, source: Table, target: Table) -> None:
    payload = index.get(commit_key(source, number))
    if payload is None:  # though the number was just read: a look-up comes upon a key that is out of its place
        raise CorruptError(f"the record of commit {number} is listed but not found; run `mctree verify`")
    index.put(commit_key(target, number), payload)
    index.delete(commit_key(source, number))


def _gaps(gone: Iterable[int], kept: list[int]) -> list[tuple[int, int, int]]:
    """(last kept before, first gone, first kept after) for each stretch of freed commits between kept ones."""
    gaps: list[tuple[int, int, int]] = []
    for number in sorted(gone):
        at = bisect_left(kept, number)
        before = kept[at - 1] if at else 0
        if not gaps or gaps[-1][0] != before:
            gaps.append((before, number, kept[at]))
    return gaps


def _free(index: Writing, before: int, first: int, after: int, freed: Freed) -> None:
    # Where nothing is kept before, nobody needs what ended earlier, either.  It is still there if somebody let go of a
    # commit that was in neither list: then it was taken for one that is kept.
    since = first + 1 if before else 0
    graves = [key for key, _ in index.scan(Table.GRAVE, u64.pack(since), u64.pack(after + 1))]
    for rest in graves:
        _, version = parse_grave(Table.GRAVE + rest)
        if not checked_key(version) or version[:1] not in VERSIONED:
            raise CorruptError(f"a grave names {describe(version)}, which is no version; run `mctree verify`")
        table, (fact, born) = Table(version[:1]), split_version(version)
        if born <= before:
            continue
        payload = index.get(version)
        if payload is None:
            continue  # it went, with its grave, with the array that it was a part of; or it is lost
        if table is Table.DOCUMENT and _lost_before(index, table, fact, born):
            continue  # so that the document, and its runs, stay with it
        index.delete(Table.GRAVE + rest)
        index.delete(version)
        if payload:
            _after_version(index, table, fact, born, payload, freed)
        _drop_end_marker(index, table, fact)


def _after_version(index: Writing, table: Table, fact: bytes, born: int, payload: bytes, freed: Freed) -> None:
    """What else goes with a version of a fact that says something."""
    if table is Table.CHUNK:
        array, chunk = u32.unpack(fact[:4])[0], u64.unpack(fact[4:])[0]
        prefix = checksum_key(array, chunk, born, 0)[:-4]
        for rest, _ in list(index.scan(prefix)):
            index.delete(prefix + rest)
        freed.generations.append((array, chunk, born))
    elif table is Table.GIST_SET:
        blob = GistSetRecord.decode(payload).blob
        # Blobs are kept by their content, so other sets may use it, and so may a setting, such as the tokenizer's.
        others = chain(index.scan(Table.GIST_SET), index.scan(Table.SETTING))
        tables = Table.GIST_SET, Table.SETTING
        if not any(blob in other for _, other in others) and all(
            whole_table(index, table, index.tables) is not None for table in tables
        ):
            index.delete(Table.BLOB + blob)
    elif table is Table.ARRAY:
        number = u32.unpack(fact)[0]
        chunks = [rest for rest, _ in index.scan(Table.CHUNK + fact)]
        for rest, later in pairwise(chunks):
            if rest[:-8] == later[:-8]:
                _delete_grave(index, Table.CHUNK + fact + rest, u64.unpack(later[-8:])[0])
                freed.generations.append((number, u64.unpack(rest[:8])[0], u64.unpack(rest[8:])[0]))
        for rest in chunks:
            index.delete(Table.CHUNK + fact + rest)
        for rest, _ in list(index.scan(Table.CHECKSUMS + fact)):
            index.delete(Table.CHECKSUMS + fact + rest)
        _drop_groups(index, fact)
        freed.arrays.append(array_layout(payload).path)


def _drop_groups(index: Writing, array: bytes) -> None:
    """Forget which nodes of an array, which is gone, existed, and in which rows."""
    versions = [rest for rest, _ in index.scan(Table.PAGES + array)]
    for rest, later in pairwise(versions):
        if rest[:-8] == later[:-8]:
            _delete_grave(index, Table.PAGES + array + rest, u64.unpack(later[-8:])[0])
    for rest in versions:
        index.delete(Table.PAGES + array + rest)


def _delete_grave(index: Writing, version: bytes, ended: int) -> None:
    """Take out the grave of a version that ended in a commit, or in an earlier one if what followed it is gone."""
    if index.delete(grave_key(ended, version)):
        return
    _, born = split_version(version)
    for rest, _ in list(index.scan(Table.GRAVE, u64.pack(born + 1), u64.pack(ended))):
        if parse_grave(Table.GRAVE + rest)[1] == version:
            index.delete(Table.GRAVE + rest)


def _lost_before(index: Writing, table: Table, fact: bytes, since: int) -> bool:
    """Whether the version of a fact is lost that ended in a commit: a commit that is kept may be one that needs it.

    It is not in its place, but its grave is.
    """
    graves = _of_fact(index, grave_key(since, table + fact))
    return any(index.get(version_key(table, fact, born)) is None for born, _ in graves)


def _of_fact(index: Writing, prefix: bytes) -> Iterator[tuple[int, bytes]]:
    """Records whose keys are a prefix and the number of a commit: that, and the payload."""
    for rest, payload in index.scan(prefix):
        if len(rest) == u64.size:  # a longer key with the same beginning is another fact
            yield u64.unpack(rest)[0], payload


def _drop_end_marker(index: Writing, table: Table, fact: bytes) -> None:
    """If nothing is left of a fact but its end, forget that it ever was.

    An end that something follows has a grave as any version has, and goes when that is found.
    """
    left = list(islice(_of_fact(index, table + fact), 2))
    if len(left) != 1 or left[0][1] or _lost_before(index, table, fact, left[0][0]):
        return
    index.delete(version_key(table, fact, left[0][0]))
    if table is Table.DOCUMENT:
        for kind in (Table.RUN, Table.ORIGINAL):
            for rest, _ in list(index.scan(kind + fact)):
                index.delete(kind + fact + rest)
