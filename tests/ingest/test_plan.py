"""What is decided about a document and a stamp, against what the words say."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mctree.format.facts import DocumentRecord, Stamp
from mctree.ingest.numbers import Numbers
from mctree.ingest.plan import RACY_NS, Digest, Known, Verdict, judge, marker_stamp, settled, stamp_of
from mctree.sources import Stamp as Seen


def digest_of(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def closed(data: bytes) -> Known:
    return Known.closed(7, DocumentRecord(b"n", False, len(data), 1, digest_of(data)))


def judged(known: Known | None, data: bytes) -> Verdict:
    prefix = None if known is None or len(data) < known.size else digest_of(data[: known.size])
    return judge(known, {}, len(data), prefix)


@given(st.binary(max_size=20), st.binary(max_size=20))
@example(b"", b"")
@example(b"", b"x")
@example(b"ab", b"abc")
@example(b"ab", b"ab")
def test_a_complete_document_is_kept_extended_or_superseded(old, new):
    expected = Verdict.KEEP if new == old else Verdict.EXTEND if new.startswith(old) else Verdict.SUPERSEDE
    assert judged(closed(old), new) is expected


def test_a_document_that_lies_elsewhere_is_only_relocated():
    known = Known.closed(7, DocumentRecord(b"n", False, 1, 1, digest_of(b"x"), locator={"line": 1}))
    assert judge(known, {"line": 2}, 1, digest_of(b"x")) is Verdict.RELOCATE
    assert judge(known, {"line": 1}, 1, digest_of(b"x")) is Verdict.KEEP


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_what_was_given_as_tokens_is_superseded(old, new):
    known = Known.closed(7, DocumentRecord(b"n", False, len(old), 1, b""))
    assert judged(known, new) is Verdict.SUPERSEDE


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 20), st.booleans())
def test_an_open_document_is_ours_only_with_a_marker_that_reaches_as_far(old, new, size, marked):
    marker = marker_stamp(size, digest_of(old[:size])) if marked else None
    known = Known.open(7, DocumentRecord(b"n", True), len(old), marker)
    verdict = judged(known, new)
    if not marked or len(old) > size:
        assert verdict is Verdict.LEAVE
    elif len(old) == size and new.startswith(old):
        assert verdict is Verdict.EXTEND  # also if nothing is missing but its end
    else:
        assert verdict is Verdict.SUPERSEDE


def test_what_the_store_does_not_have_is_added():
    assert judge(None, {}, 3, None) is Verdict.ADD


@given(st.lists(st.binary(max_size=9)), st.one_of(st.none(), st.integers(0, 40)))
def test_a_digest_and_that_of_a_prefix_do_not_depend_on_how_the_bytes_come(parts, mark):
    data = b"".join(parts)
    digest = Digest(mark)
    for part in parts:
        digest.update(part)
    assert (digest.size, digest.value) == (len(data), digest_of(data))
    assert digest.prefix == (None if mark is None or len(data) < mark else digest_of(data[:mark]))


TIMES = st.integers(0, 3 * RACY_NS)
stats = st.builds(Seen, size=st.integers(0, 2), mtime_ns=TIMES, inode=st.integers(1, 2), ctime_ns=TIMES)


@given(stats, stats, st.integers(0, 9 * RACY_NS))
def test_only_an_equal_stat_that_is_old_enough_settles_it(then, now, seen_ns):
    stamp = stamp_of(then, seen_ns, b"d", None)
    old = seen_ns - then.mtime_ns >= RACY_NS and seen_ns - then.ctime_ns >= RACY_NS
    assert settled(stamp, now) is (then == now and old)
    assert not settled(None, now)
    assert not settled(stamp, None)


@given(stats, st.integers(0, 9 * RACY_NS), st.integers(0, 9 * RACY_NS), st.sampled_from([b"d", b"e"]))
def test_a_stamp_is_written_again_only_if_it_says_more(seen, before_ns, now_ns, digest):
    before = Stamp(seen.size, seen.mtime_ns, seen.inode, seen.ctime_ns, before_ns, b"d")
    again = stamp_of(seen, now_ns, digest, before)
    if again is None:
        assert digest == b"d"
        assert settled(before, seen) or not settled(Stamp(*_times(seen), now_ns, b"d"), seen)
    else:
        assert again == Stamp(*_times(seen), now_ns, digest)
        assert digest != b"d" or (settled(again, seen) and not settled(before, seen))


def _times(seen: Seen) -> tuple[int, int, int, int]:
    return seen.size, seen.mtime_ns, seen.inode, seen.ctime_ns


@given(st.lists(st.one_of(st.integers(0, 70), st.integers(0, 1 << 40))))
def test_numbers_are_a_set(numbers):
    model: set[int] = set()
    found = Numbers()
    for number in numbers:
        assert found.add(number) is (number not in model)
        model.add(number)
    assert len(found) == len(model)
    for number in (*numbers, *(n + 1 for n in numbers)):
        assert (number in found) is (number in model)


@pytest.mark.parametrize("field", ["size", "mtime_ns", "inode", "ctime_ns"])
def test_every_part_of_a_stat_counts(field):
    seen = Seen(1, 2, 3, 4)
    stamp = stamp_of(seen, 9 * RACY_NS, b"d", None)
    assert settled(stamp, seen)
    changed = {name: getattr(seen, name) + (name == field) for name in Seen.__slots__}
    assert not settled(stamp, Seen(**changed))
