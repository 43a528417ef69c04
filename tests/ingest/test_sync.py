"""A folder is changed and ingested again and again; the store is what a dict says it should be."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import LockedError, SourceError, UsageError
from mctree.ingest import ingest
from mctree.testing import scratch
from tests.ingest.corpora import ListedSource, commits, contents, folders, held, names, sync, texts, write


def named(files: dict[str, bytes]) -> dict[bytes, bytes]:
    return {b"t/" + os.fsencode(name): content for name, content in files.items()}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, bytes]]:
    """States of a folder, each made from the one before by a few edits."""
    states = [draw(folders)]
    for _ in range(draw(st.integers(1, 3))):
        state = dict(states[-1])
        for _ in range(draw(st.integers(0, 3))):
            name = draw(names)
            match draw(st.sampled_from(["write", "grow", "cut", "remove"])):
                case "write":
                    state[name] = draw(contents)
                case "grow" if name in state:
                    state[name] += draw(contents)
                case "cut" if name in state:
                    state[name] = state[name][: len(state[name]) // 2]
                case "remove":
                    state.pop(name, None)
        states.append(state)
    return states


@given(histories(), st.sampled_from([1, 700, 4000, 1 << 20]), st.booleans())
@settings(max_examples=30)
def test_the_store_follows_the_folder(states, batch_bytes, keep_vanished):
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        before: dict[str, bytes] = {}
        known: dict[bytes, object] = {}
        for state in states:
            write(root, state)
            report = sync(root, store, batch_bytes=batch_bytes, keep_vanished=keep_vanished)
            vanished = before.keys() - state.keys()
            expected = {**(before if keep_vanished else {}), **state}
            now = held(store)
            assert {name: one.data for name, one in now.items()} == named(expected)

            both = [name for name in state if name in before]
            same = [name for name in both if state[name] == before[name]]
            grown = [name for name in both if name not in same and state[name].startswith(before[name])]
            changed = [name for name in both if name not in same and name not in grown]
            assert report.added == len(state) - len(both)
            assert (report.unchanged, report.extended) == (len(same), len(grown))
            assert (report.superseded, report.removed) == (len(changed), 0 if keep_vanished else len(vanished))
            for name in named(dict.fromkeys([*same, *grown], b"")):
                old, new = known[name], now[name]
                assert new.id == old.id
                assert new.blocks[: len(old.blocks)] == old.blocks
            for name in named(dict.fromkeys(changed, b"")):
                assert now[name].previous == known[name].id != now[name].id
            assert report.changed is (before != expected or report.commit_before is None)
            before, known = expected, now

            newest = commits(store)
            again = sync(root, store, batch_bytes=batch_bytes, keep_vanished=keep_vanished)
            assert (again.changed, commits(store), again.unchanged) == (False, newest, len(state))


def test_what_is_settled_is_not_read(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    files = {f"{i}/{j}.txt": b"%d %d\n" % (i, j) * 50 for i in range(4) for j in range(4)}
    for name, content in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)
    sync(root, store)
    assert sync(root, store).bytes_read == 0

    edited = {"0/1.txt": b"new", "2/3.txt": b"newer", "3/0.txt": files["3/0.txt"] + b"more"}
    for name, content in edited.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)
    report = sync(root, store)
    assert report.bytes_read == sum(map(len, edited.values()))
    assert (report.superseded, report.extended, report.unchanged, report.tokens) == (2, 1, 13, 3 + 5 + 4)
    assert sync(root, store).bytes_read == 0


def test_a_file_that_was_only_touched_is_read_once_and_nothing_is_committed(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text", "b": b"text"})
    sync(root, store)
    newest = commits(store)
    os.utime(os.path.join(root, "a"))
    assert [sync(root, store).bytes_read for _ in range(2)] == [4, 0]
    assert commits(store) == newest


def test_what_changed_just_before_it_was_read_is_read_again(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text"})
    sync(root, store)
    assert sync(root, store).bytes_read == 4


def test_a_document_that_was_removed_by_hand_comes_back(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text", "b": b"more"})
    sync(root, store)
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.remove(b"t/a")
    assert sync(root, store).added == 1
    assert texts(store) == {b"t/a": b"text", b"t/b": b"more"}


def test_other_roots_and_streams_are_left_alone(folder):
    store = os.path.join(folder, "s")
    for root in ("t", "u"):
        write(os.path.join(folder, root), {"a": root.encode(), "b": b"2"})
    ingest([os.path.join(folder, "t"), os.path.join(folder, "u")], store, tokenizer="bytes", encoder="none")
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.begin(b"t/talk").write(b"said so far")
        writer.begin(b"t/c").write(b"being written")
    write(os.path.join(folder, "t"), {"b": b"2", "c": b"from a file"})
    report = sync(os.path.join(folder, "t"), store)
    assert (report.removed, report.unchanged, report.skipped_count) == (1, 1, 1)
    assert report.skipped[0].name == b"t/c" and "open document" in report.skipped[0].reason
    found = held(store)
    assert {name: one.data for name, one in found.items()} == {
        b"t/b": b"2",
        b"t/c": b"being written",
        b"t/talk": b"said so far",
        b"u/a": b"u",
        b"u/b": b"2",
    }
    assert found[b"t/talk"].open and found[b"t/c"].open


def test_a_file_that_becomes_binary_is_gone_and_one_that_cannot_be_read_stays(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text", "b": b"more"})
    sync(root, store)
    with open(os.path.join(root, "a"), "wb") as file:
        file.write(b"\0\1\2")
    report = sync(root, store)
    assert (report.removed, dict(report.skipped_reasons)) == (1, {"binary": 1})
    assert texts(store) == {b"t/b": b"more"}

    failing = ListedSource({b"t/b": [SourceError("the disk is gone")]})
    report = ingest(failing, store)
    assert (report.removed, report.skipped[0].reason) == (0, "the disk is gone")
    assert texts(store) == {b"t/b": b"more"}


def test_of_two_documents_of_one_name_the_first_counts(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a.jsonl": b'{"text": "in it"}\n', "a.jsonl#1": b"beside it"})
    for _ in range(2):
        report = sync(root, store)
        assert report.superseded == 0
        assert texts(store) == {b"t/a.jsonl#1": b"in it"}
    write(root, {"a.jsonl#1": b"beside it"})
    sync(root, store)
    assert texts(store) == {b"t/a.jsonl#1": b"beside it"}


def test_nothing_is_removed_by_a_walk_that_did_not_end(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"1", "b": b"2"})
    sync(root, store)
    source = ListedSource({b"t/a": [b"1"], b"t/b": [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        ingest(source, store)
    assert texts(store) == {b"t/a": b"1", b"t/b": b"2"}
    with mctree.open(store) as tree:
        tree.writer().close()


def test_a_store_that_is_being_written_to_is_refused(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"1"})
    sync(root, store)
    with mctree.open(store) as tree, tree.writer(), pytest.raises(LockedError):
        sync(root, store)


def test_options_that_make_no_sense_are_refused(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"1"})
    for options in ({"workers": 0}, {"batch_bytes": 0}, {"encoder": "fast"}, {"format": "csv"}):
        with pytest.raises(UsageError):
            sync(root, store, **options)
    with pytest.raises(UsageError):
        ingest(root, store)
    with pytest.raises(SourceError):
        sync(os.path.join(root, "no such"), store)
    assert not os.path.exists(store)


@given(
    st.lists(st.sampled_from(["é", "a", "日本", "𝄞", "\n"]), min_size=1, max_size=40), st.binary(max_size=3), st.data()
)
def test_what_is_no_utf8_is_kept_and_reported(words, noise, data):
    text = "".join(words).encode()
    at = data.draw(st.integers(0, len(text)))
    content = text[:at] + noise + text[at:]
    try:
        content.decode()
        expected: tuple[bytes, ...] = ()
    except UnicodeDecodeError:
        expected = (b"t/a",)
    if b"\0" in content:
        return
    with scratch() as folder:
        root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
        write(root, {"a": content, "b": text})
        report = sync(root, store)
        assert (report.raw, report.raw_count) == (expected, len(expected))
        assert texts(store) == {b"t/a": content, b"t/b": text}


def test_a_character_that_is_finished_later_is_utf8(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": "é".encode()[:1]})
    assert sync(root, store).raw == (b"t/a",)
    write(root, {"a": "é and so on".encode()})
    report = sync(root, store)
    assert (report.extended, report.raw) == (1, ())
