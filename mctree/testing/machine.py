"""Does a real store do what a few lists do, whatever happens to it, in whatever order?

`TreeMachine` drives a store and a `Model` side by side: documents begin, grow by bytes and by tokens, close, reopen,
are replaced and removed; commits are made with and without gists; snapshots of any kept commit are held, pickled,
read in forked children and compared; gist sets are built, refreshed, chosen and dropped; the store is compacted,
reopened, and written to by processes that die in the middle.  In the end everything is compared once more, and the
store is verified.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from mctree.errors import LockedError, NotFoundError, UsageError
from mctree.format.facts import Stamp
from mctree.geometry import check
from mctree.testing import strategies
from mctree.testing.checks import check_node, check_range, check_snapshot
from mctree.testing.driver import NAMES, Driver, raises
from mctree.testing.edits import Edit
from mctree.testing.model import ModelLink, ModelSet, RefusedError
from mctree.testing.processes import in_child
from mctree.testing.stores import assert_whole

__all__ = ["TreeMachine"]

SETS = ("one", "two", "three")
_MOST_BLOCKS = 4000
_MOST_HELD = 4


class TreeMachine(Driver):
    """A store and its model, driven by rules; `tree_machine` makes classes with other parameters."""

    @initialize(
        blocks=st.sampled_from([0, 3, 40, 70, 70, 1030]),
        build=st.sampled_from([True, True, False]),
        aged=st.sampled_from([True, True, False]),
        hold=st.booleans(),
    )
    def begin_with(self, blocks: int, build: bool, aged: bool, hold: bool) -> None:
        """Start from a store that holds a little, and has a past: most runs would else end before they have either."""
        if build:
            self.build(0, None, "float16")
        for i, part in enumerate([blocks // 2, blocks - blocks // 2]):
            if part:
                self._add_long(NAMES[i], i, 32 * part - 5)
        self._finish()
        if hold:
            self._hold(None)
        if aged and blocks:
            self._apply(Edit("remove", NAMES[0]))
            self._add_long(NAMES[0], 3, 37)
            self._apply(Edit("begin", NAMES[2]))
            if self.extends:
                self._apply(Edit("extend", NAMES[2], tokens=(0,) * 41))
            else:
                self._apply(Edit("write", NAMES[2], data=b"a b " * 20))
            self._finish()

    # Documents

    @rule(data=st.data(), edits=st.integers(1, 5), then=st.sampled_from(["go on", "commit", "commit", "finish"]))
    def work(self, data: st.DataObject, edits: int, then: str) -> None:
        """Change some documents in ways that are possible where they are."""
        for _ in range(edits):
            self._apply(data.draw(self._possible_edits()))
        if then == "commit":
            self._commit(data.draw(st.sampled_from([None, True, False])))
        elif then == "finish":
            self._finish()

    @rule(data=st.data())
    def try_anything(self, data: st.DataObject) -> None:
        """Change a document, or be refused."""
        self._apply(data.draw(self._edits))

    @precondition(lambda self: self.extends)
    @rule(data=st.data(), parts=st.integers(1, 4))
    def stream(self, data: st.DataObject, parts: int) -> None:
        """Append tokens to a document, a few at a time."""
        open_ones = sorted({d.source for d in self.model.now.documents.values() if d.open})
        name = data.draw(st.sampled_from(open_ones or NAMES))
        for _ in range(parts):
            self._apply(Edit("extend", name, tokens=data.draw(self._tokens)))

    @precondition(lambda self: len(self.model.now.blocks) < _MOST_BLOCKS // 2)
    @rule(name=st.sampled_from(NAMES), seed=st.integers(0, 9), blocks=st.integers(30, 1100), over=st.integers(-1, 1))
    def add_much(self, name: bytes, seed: int, blocks: int, over: int) -> None:
        """Add a document that reaches the higher levels and into further chunks."""
        self._add_long(name, seed, 32 * blocks + over)

    @precondition(lambda self: self.inputs)
    @rule(data=st.data())
    def add_input(self, data: st.DataObject) -> None:
        """Add a document of the source that the machine was made for."""
        source, pieces, locator = data.draw(st.sampled_from(self.inputs))
        writer = self._scribe().writer
        self._both(
            lambda: self.model.add(source, pieces, locator=locator),
            lambda: writer.add(source, pieces, locator=locator),
        )

    # Links, and what no snapshot sees

    @rule(data=st.data(), what=st.sampled_from(["link", "unlink", "stamp"]))
    def relate(self, data: st.DataObject, what: str) -> None:
        """Link two spans of positions, end a link, or remember what an input looked like."""
        writer, model = self._scribe().writer, self.model
        if what == "link" and model.now.blocks:
            spans = strategies.ranges(32 * len(model.now.blocks)).filter(lambda span: span[0] < span[1])
            kind = data.draw(st.sampled_from(["caption", "ocr", ""]))
            link = ModelLink(data.draw(spans), data.draw(spans), kind, data.draw(st.sampled_from([0.0, 0.5, 1.0])))
            number = writer.link(link.source, link.target, kind=link.kind, score=link.score)
            assert number == model.link(link)
        elif what == "unlink":
            number = data.draw(st.sampled_from([*model.now.links, 77]))
            self._both(lambda: model.unlink(number), lambda: writer.unlink(number))
        else:
            item, size = data.draw(st.binary(max_size=3)), data.draw(st.none() | st.integers(0, 9))
            stamp = None if size is None else Stamp(size, -1, 2, 3, 4, b"digest")
            writer.stamp(item, stamp)
            assert writer.stamp_of(item) == stamp
            model.touch()

    # Commits

    @precondition(lambda self: self.scribe is not None)
    @rule(how=st.sampled_from(["commit", "with gists", "without gists", "finish", "close", "raise"]))
    def end(self, how: str) -> None:
        """Commit and go on with the same writer, leave its block, or end it without a commit."""
        if how == "finish":
            self._finish()
        elif how == "close":
            self._drop_writer()
        elif how == "raise":
            with suppress(KeyError), self._scribe().writer:
                raise KeyError
            self._drop_writer()
        else:
            self._commit({"commit": None, "with gists": True, "without gists": False}[how])

    @precondition(lambda self: self.scribe is None)
    @rule(commits=st.integers(17, 48))
    def age(self, commits: int) -> None:
        """Make many small commits, so that old ones are collected."""
        for i in range(commits):
            self._scribe().writer.stamp(b"age", Stamp(i, 0, 0, 0, 0, b""))
            self.model.touch()
            self._commit(False)
            if i % 3 == 0:
                self._drop_writer()
        self._openable()
        most = self.kept + len(self.held) + 34
        assert not self.kept or len(self.tree.commits()) <= most, "old commits are never collected"

    @rule(commits=st.integers(0, 5))
    def keep_commits(self, commits: int) -> None:
        """Say how many commits to keep."""
        if self._locked(lambda: self.tree.keep(commits)):
            return
        self.model.gists_made()
        self._record(self.tree.commits()[-1].number)
        self.kept, self.kept_from = commits, self.model.newest

    # Snapshots

    @precondition(lambda self: len(self.held) < _MOST_HELD)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        """Take a snapshot of the newest commit, or of any that is kept, and hold it."""
        self._hold(data.draw(st.none() | st.sampled_from(self._openable())))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Let go of a snapshot; it says so when it is used."""
        snapshot, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        snapshot.close()
        raises(UsageError, lambda: snapshot.tokens(0, 0))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), verify=st.booleans())
    def look(self, data: st.DataObject, verify: bool) -> None:
        """Compare a held snapshot: as a whole, a stretch of it, a node, a cut of it; verify, whoever is writing."""
        if verify:
            assert_whole(self.tree)
        snapshot, expected = data.draw(st.sampled_from(self.held))
        check_snapshot(snapshot, expected)
        check_range(snapshot, expected, *data.draw(strategies.ranges(snapshot.positions)))
        level = data.draw(st.integers(0, 3))
        check_node(snapshot, expected, level, data.draw(st.integers(0, snapshot.positions // 32**level)))
        assert not check(data.draw(strategies.cuts(expected.world)), snapshot.world.geometry)

    @precondition(lambda self: self.held and len(self.held) < _MOST_HELD)
    @rule(data=st.data())
    def travel(self, data: st.DataObject) -> None:
        """Send a snapshot somewhere else and back."""
        snapshot, expected = data.draw(st.sampled_from(self.held))
        other = pickle.loads(pickle.dumps(snapshot))  # noqa: S301  # made a moment ago
        self.held.append((other, expected))
        check_snapshot(other, expected)

    @precondition(lambda self: self.crashes and self.held)
    @rule()
    def read_in_child(self) -> None:
        """Compare held snapshots in a forked child."""
        held = self.held

        def compare() -> None:
            for snapshot, expected in held:
                check_snapshot(snapshot, expected)

        assert in_child(compare) == 0, "a forked child reads something else (see its traceback)"

    @rule(portable=st.booleans())
    def reopen(self, portable: bool) -> None:
        """Close everything and open the store again, mapped or read."""
        self._finish()
        for snapshot, _ in self.held:
            snapshot.close()
        self.held.clear()
        self.tree.close()
        raises(UsageError, self.tree.commits)
        self._open(portable=portable)
        with self.tree.snapshot() as snapshot:
            assert snapshot.commit == self.model.newest
            check_snapshot(snapshot, self.expected[snapshot.commit])

    # Gist sets and compaction

    @rule(
        which=st.integers(0, 2),
        default=st.sampled_from([None, True, False]),
        dtype=st.sampled_from(["float16", "float32"]),
    )
    def build(self, which: int, default: bool | None, dtype: str) -> None:
        """Build a gist set, or complete it."""
        which %= len(self.encoders)
        name, encoder, now = SETS[which], self.encoders[which], self.model.now
        if self._locked(lambda: self.tree.build_gists(encoder, name, dtype=dtype, default=default)):
            return
        known = now.sets.get(name) or ModelSet(encoder, dtype, 0, self.model.newest)
        now.sets[name] = replace(known, rows=len(now.blocks))
        if default or (default is None and now.default is None):
            now.default = name
        self._record(self.tree.commits()[-1].number)

    @precondition(lambda self: self.model.now.sets and self.model.now.dead)
    @rule(data=st.data())
    def refresh(self, data: st.DataObject) -> None:
        """Refresh a gist set: nothing in it is stale then."""
        name = data.draw(st.sampled_from(sorted(self.model.now.sets)))
        expected = self.expected[self.model.newest]
        one = self.model.now.sets[name]
        stale = 0
        for level in range(2, 5):
            rows = one.rows // 32 ** (level - 1)
            stale += int((expected.died_after(level, one.refreshed) & expected.exists(level))[:rows].sum())
        made: list[int] = []
        if self._locked(lambda: made.append(self.tree.refresh_gists(name))):
            return
        assert made == [stale], f"{made[0]} gists were made again, but {stale} were stale"
        self.model.now.sets[name] = replace(one, refreshed=self.model.newest)
        self._record(self.tree.commits()[-1].number)

    @precondition(lambda self: self.model.now.sets)
    @rule(data=st.data(), drop=st.booleans())
    def choose_or_drop(self, data: st.DataObject, drop: bool) -> None:
        """Make a set the default, or let it be gone."""
        name, now = data.draw(st.sampled_from([*self.model.now.sets, "none"])), self.model.now
        act = self.tree.drop_gists if drop else self.tree.set_default_gists
        if self.scribe is None and name not in now.sets:
            raises(NotFoundError, lambda: act(name))
            return
        if self._locked(lambda: act(name)):
            return
        if not drop:
            now.default = name
        else:
            del now.sets[name]
            now.default = None if now.default == name else now.default
        self._record(self.tree.commits()[-1].number)

    @precondition(lambda self: self.model.now.dead)
    @rule()
    def compact(self) -> None:
        """Write the store anew; snapshots of the old epoch stay what they are."""
        if self._locked(self.tree.compact):
            return
        self._compacted()

    # Processes that die

    @precondition(lambda self: self.crashes)
    @rule(data=st.data(), gists=st.booleans(), calls=st.integers(0, 30), durable=st.booleans())
    def crash_in_commit(self, data: st.DataObject, gists: bool, calls: int, durable: bool) -> None:
        """Another process changes documents and dies while it commits, or soon after."""
        self._finish()
        before = self.model.newest
        done: list[Edit] = []
        for edit in data.draw(self._whole_edits):
            with suppress(RefusedError):
                self.model.do(edit)
                done.append(edit)
        if gists:
            self.model.gists_made()
        self._crash_while_writing(done, gists, calls, durable)
        newest = self.tree.commits()[-1].number
        assert newest in (before, before + 1)
        assert newest > before or not (durable and self.model.changed), "a durable commit is lost"
        self._record(newest)
        self.model.abandon()
        self._compare_newest()

    @precondition(lambda self: self.crashes and self.model.now.dead)
    @rule(calls=st.integers(0, 60), compact=st.booleans())
    def crash_in_upkeep(self, calls: int, compact: bool) -> None:
        """Another process compacts the store, or refreshes a gist set, and dies."""
        self._finish()
        before, names = self.model.newest, sorted(self.model.now.sets)
        if compact or not names:
            # A compaction makes some hundred changes; those at its end are the ones that matter to others.
            self._crash(lambda tree: tree.compact(), calls * 5)
            if self.tree.epoch != self.model.now.epoch:
                self._compacted()
            self._compare_newest()
            # The next writer puts the old epoch where snapshots that travel look for it.
            self.tree.writer().close()
            return
        self._crash(lambda tree: tree.refresh_gists(names[0]), calls)
        newest = self.tree.commits()[-1].number
        if newest != before:
            self.model.now.sets[names[0]] = replace(self.model.now.sets[names[0]], refreshed=before)
            self._record(newest)
        self._compare_newest()

    # What always holds

    @invariant()
    def counts_agree(self) -> None:
        """The newest commit, and what the writer has not committed, are of the right size."""
        with self.tree.snapshot() as snapshot:
            newest = self.model.commits[self.model.newest]
            assert snapshot.commit == self.model.newest, f"commit {snapshot.commit}, not {self.model.newest}"
            assert snapshot.blocks == len(newest.blocks)
            assert snapshot.documents_count == len(newest.documents)
        if self.scribe is not None:
            assert self.scribe.writer.pending_blocks == self.model.pending_blocks
            raises(LockedError, self.tree.writer)
