"""Facts come and go while commits are kept, held, condemned and freed, in any order: what is kept reads as it did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import lmdb
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.format.arrays import ArrayLayout
from mctree.format.commits import array_fact
from mctree.format.keys import Table, commit_key, group_key, parse_grave, split_version, u32, u64
from mctree.storage.index import Reading, Writing, table_sums
from mctree.tree.retention import collect
from tests.bare import empty

State = dict[tuple[Table, bytes], bytes]
TABLES = (Table.TAIL, Table.ARRAY, Table.CHUNK, Table.PAGES)
LAYOUT = array_fact(ArrayLayout("text/lod0", "uint16", (), 8))


@dataclass(frozen=True)
class Step:
    """One commit, and what readers do before it.

    Attributes:
        tails: what some facts say from it on (nothing: they end).
        groups: what some groups of the array say, and the chunks of the same numbers.
        drops: whether the array ends, and another begins.
        keeps: how many of the newest commits are kept, where what is not kept goes; None where nothing goes.
        takes: which commits somebody holds from now on, of those that are there, condemned ones too, from the newest.
        late: which others somebody writes down as held, who came too late for them, by how old they are.
        lets_go: which of those held somebody lets go of, by their order.
    """

    tails: dict[int, bytes]
    groups: dict[int, bytes]
    drops: bool
    keeps: int | None
    takes: frozenset[int]
    late: frozenset[int]
    lets_go: frozenset[int]


STEPS = st.builds(
    Step,
    st.dictionaries(st.sampled_from([1, 2, 256]), st.sampled_from([b"", b"", b"this", b"that"]), max_size=3),
    st.dictionaries(st.sampled_from([0, 1]), st.sampled_from([b"these", b"those"]), max_size=2),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([None, None, 1, 1, 2, 3]),
    st.frozensets(st.integers(0, 5), max_size=1),
    st.sampled_from([frozenset(), frozenset(), frozenset({1}), frozenset({3}), frozenset({5})]),
    st.frozensets(st.integers(0, 3), max_size=2),
)


def put(index: Writing, step: Step, before: State) -> State:
    """What a step's commit says; each of its facts is put."""
    array = max((u32.unpack(key)[0] for table, key in before if table is Table.ARRAY), default=0)
    said = {(Table.TAIL, u64.pack(document)): payload for document, payload in step.tails.items()}
    if step.drops or not array:
        if array:
            said[Table.ARRAY, u32.pack(array)] = b""
        # Numbers of arrays are not given twice: what a dropped one had goes with it.
        array = index.number
        said[Table.ARRAY, u32.pack(array)] = LAYOUT
    for table in (Table.CHUNK, Table.PAGES):
        said |= {(table, group_key(array, group)): payload for group, payload in step.groups.items()}
    for (table, key), payload in said.items():
        index.put_version(table, key, payload)
    now = {**before, **said}
    arrays = {key for table, key in now if table is Table.ARRAY and now[table, key]}
    gone = {fact for fact in now if fact[0] in (Table.CHUNK, Table.PAGES) and fact[1][:4] not in arrays}
    return {fact: payload for fact, payload in now.items() if payload and fact not in gone}


def read(index: Reading, commit: int) -> State:
    """What an index says at a commit."""
    said = {(table, key): payload for table in TABLES for key, _, payload in index.versions(table, commit)}
    return {
        fact: payload
        for fact, payload in said.items()
        if fact[0] in (Table.TAIL, Table.ARRAY) or (Table.ARRAY, fact[1][:4]) in said
    }


def buried(index: Reading) -> dict[bytes, int]:
    """When each version ended that a grave names."""
    graves = (parse_grave(Table.GRAVE + rest) for rest, _ in index.scan(Table.GRAVE))
    return {version: ended for ended, version in graves}


@given(history=st.lists(STEPS, min_size=3, max_size=20))
@settings(max_examples=300, deadline=None)
def test_what_is_kept_reads_as_it_did_and_nothing_else_stays(env: lmdb.Environment, history: list[Step]) -> None:
    """Found by it: an end that went left its grave, what had ended could end again, and what spans a commit stayed for
    ever that was held too late."""
    states: dict[int, State] = {0: {}}
    held: list[int] = []
    late: list[int] = []
    tables: dict[str, tuple[int, int]] = {}
    everyone = frozenset(range(2 * len(history)))
    last = Step({}, {}, drops=False, keeps=1, takes=frozenset(), late=frozenset(), lets_go=everyone)
    with env.begin(write=True) as txn:
        empty(txn)
        for number, step in enumerate([*history, last, last], 1):
            index = Writing(txn, number, tables)
            there = sorted(index.commit_numbers() + index.commit_numbers(Table.CONDEMNED), reverse=True)
            held = [one for at, one in enumerate(held) if at not in step.lets_go]
            held += [there[at] for at in step.takes if at < len(there)]
            late = [one for at, one in enumerate(late) if at not in step.lets_go]
            late += [number - back for back in step.late if number > back and number - back not in there]
            states[number] = put(index, step, states[number - 1])
            if step.keeps is not None and number > 1:
                collect(index, step.keeps, {*held, *late})
            index.put(commit_key(Table.COMMIT, number), b"")
            tables = index.tables
            for one in {*index.commit_numbers(), *held}:
                assert read(index, one) == states[one]
            versions = [table + rest for table in TABLES for rest, _ in index.scan(table)]
            followed = {one for one, after in pairwise(versions) if one[:-8] == after[:-8]}
            assert buried(index).keys() == followed
        counted = {tag: (count, total) for tag, count, total in table_sums(index) if count}
        assert counted == {tag: sums for tag, sums in tables.items() if sums[0]}
        there = index.commit_numbers() + index.commit_numbers(Table.CONDEMNED)
        for version, ended in buried(index).items():
            assert any(split_version(version)[1] <= one < ended for one in there)
        ends = {version[:-8] for version in versions if version not in followed and not index.get(version)}
        assert ends <= {version[:-8] for version in followed}
