"""How are a store and its model kept side by side?  One machine without rules: what all rules are made of.

A `Driver` makes a store in a scratch folder and a `Model` of it, does the same to both, remembers what each commit
has to show, and in the end compares and verifies everything.  Which steps to take is for `mctree.testing.machine`,
or for a machine of one's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from mctree.encoders import BytesTokenizer, Encoder, Tokenizer
from mctree.errors import CommitGoneError, LockedError, MctreeError
from mctree.testing import strategies
from mctree.testing.checks import Expected, check_snapshot
from mctree.testing.edits import Action, Edit, Scribe
from mctree.testing.model import Model, RefusedError
from mctree.testing.processes import FAILED, KILLED, in_child, kill_after, kill_after_transaction
from mctree.testing.stores import apply, assert_whole, scratch
from mctree.testing.toys import ToyEncoder
from mctree.tree import Snapshot, Tree, create
from mctree.tree import open as open_tree

__all__ = ["NAMES", "Driver", "raises"]

NAMES = (b"a", b"b/c.txt", b"\xff\xfe.bin", b"x" * 600)
"""Sources of the documents that are made up: few, so that they meet."""


class Driver(RuleBasedStateMachine):
    """A store and its model, side by side.

    Attributes:
        tokenizer: the store's tokenizer, or None for a store of bare tokens.
        vocabulary: for a store of bare tokens.
        encoders: those of the gist sets "one", "two" and "three", in this order.
        chunk_bytes: wished size of chunk files.
        keep: how many commits the store keeps at first.
        tolerance: by how much a gist may differ when it is made again in another batch.
        extends: whether tokens may be appended one by one, which wants a tokenizer that decodes them so.
        inputs: documents to add whole: (source, pieces, locator).
        crashes: whether children are forked that die.
    """

    tokenizer: ClassVar[Tokenizer | None] = BytesTokenizer()
    vocabulary: ClassVar[int | None] = None
    encoders: ClassVar[tuple[Encoder, ...]] = (
        ToyEncoder(),
        ToyEncoder(64, seed=1, span_level=2),
        ToyEncoder(1024, seed=2),
    )
    chunk_bytes: ClassVar[int] = 1 << 16
    keep: ClassVar[int] = 3
    tolerance: ClassVar[float] = 0.0
    extends: ClassVar[bool] = True
    inputs: ClassVar[Sequence[tuple[bytes, tuple[bytes, ...], dict[str, int | str]]]] = ()
    crashes: ClassVar[bool] = hasattr(os, "fork")

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.path = os.path.join(self._stack.enter_context(scratch()), "store.mctree")
        self.tree: Tree = create(
            self.path,
            tokenizer=self.tokenizer,
            vocabulary=self.vocabulary,
            chunk_bytes=self.chunk_bytes,
            keep=self.keep,
            encoders=self.encoders,
        )
        self.kept, self.kept_from = self.keep, 0
        text = self.tokenizer is not None
        names, most = st.sampled_from(NAMES), 3000
        actions: tuple[Action, ...] = ("begin", "write", "close", "add", "remove", "reopen")
        self._edits = strategies.edits(text=text, most=most, names=names, actions=actions)
        self._whole_edits = st.lists(
            strategies.edits(text=text, most=most, names=names, actions=("begin", "add", "remove", "write")),
            min_size=1,
            max_size=4,
        )
        self._tokens = strategies.tokens(self.tree.vocabulary, 1500)
        newest = self.tree.commits()[-1].number
        self.model = Model(self.tokenizer, self.tree.vocabulary, newest)
        self.expected = {newest: self._expect(newest)}
        self.scribe: Scribe | None = None
        self.held: list[tuple[Snapshot, Expected]] = []

    def teardown(self) -> None:
        """Compare everything once more, verify the store, and remove it."""
        try:
            self._drop_writer()
            self._openable()
            for snapshot, expected in self.held:
                check_snapshot(snapshot, expected)
                snapshot.close()
            self.tree.close()
            self._open(portable=False)
            self._compare_newest()
            assert_whole(self.tree)
        finally:
            self.tree.close()
            self._stack.close()

    def _open(self, *, portable: bool) -> None:
        self.tree = open_tree(self.path, encoders=self.encoders, portable=portable)

    def _expect(self, number: int) -> Expected:
        return Expected(self.model.commits[number], self.tolerance)

    def _scribe(self) -> Scribe:
        if self.scribe is None:
            self.scribe = Scribe(self.tree.writer())
        return self.scribe

    def _hold(self, number: int | None) -> None:
        snapshot = self.tree.snapshot(number)
        self.held.append((snapshot, self.expected[snapshot.commit]))
        check_snapshot(*self.held[-1])

    def _possible_edits(self) -> st.SearchStrategy[Edit]:
        """Edits that can be done now."""
        model, text = self.model, self.tokenizer is not None
        live = {document.source: document for document in model.now.documents.values()}
        quiet = [source for source in live if model.removable(source)]
        growing = [source for source, document in live.items() if document.open]
        grown = [source for source in live if model.reopenable(source)]
        free = sorted({*NAMES} - {*live})
        choices = []
        for names, actions in (
            (free, ("begin", "add")),
            (growing, ("write", "extend", "close") if self.extends else ("write", "close")),
            (grown, ("reopen",)),
            (quiet, ("remove",)),
        ):
            usable = cast("tuple[Action, ...]", [a for a in actions if text or a not in ("write", "add")])
            if names and usable:
                who = st.sampled_from(names)
                choices.append(
                    strategies.edits(vocabulary=self.tree.vocabulary, most=2000, names=who, actions=usable, text=text)
                )
        if quiet and text:
            choices.append(
                st.builds(
                    Edit, st.just("add"), st.sampled_from(quiet), strategies.contents(2000), replace=st.just(True)
                )
            )
        return st.one_of(choices)

    def _add_long(self, name: bytes, seed: int, size: int) -> None:
        if self.tokenizer is None:
            tokens = strategies.patterned(seed, size, self.tree.vocabulary)
            self._apply(Edit("begin", name, replace=True))
            self._apply(Edit("extend", name, tokens=tuple(tokens.tolist())))
            self._apply(Edit("close", name))
        else:
            self._apply(Edit("add", name, data=_text(seed, size), replace=True))

    def _apply(self, edit: Edit) -> None:
        apply(self._scribe(), self.model, edit)

    def _both(self, model: Callable[[], object], store: Callable[[], object]) -> None:
        """Do the same to both; where the model refuses, the store must."""
        try:
            model()
        except RefusedError as refused:
            raises(refused.error, store)
        else:
            store()

    def _locked(self, act: Callable[[], object]) -> bool:
        """Do something that needs the writer's lock; True if it was, rightly, refused because somebody has it."""
        if self.scribe is not None:
            raises(LockedError, act)
            return True
        act()
        return False

    def _finish(self) -> None:
        """Leave the writer's block, if there is one: it commits with gists."""
        if self.scribe is None:
            return
        behind = any(one.rows < len(self.model.now.blocks) for one in self.model.now.sets.values())
        changed = self.model.changed or behind
        self.scribe.writer.__exit__(None, None, None)
        self.scribe = None
        self.model.gists_made()
        if changed:
            assert self.tree.commits()[-1].number == self.model.newest + 1
            self._record(self.model.newest + 1)
        self.model.abandon()

    def _commit(self, gists: bool | None) -> None:
        model, scribe = self.model, self._scribe()
        blocks = len(model.now.blocks)
        behind = [name for name, one in model.now.sets.items() if one.rows < blocks]
        number = scribe.writer.commit(gists=gists)
        if gists:
            model.gists_made()
        elif gists is None:
            # Whether many wait for their gists is the writer's business; but none or all of them are made.
            with self.tree.snapshot() as snapshot:
                for name in behind:
                    rows = snapshot.gists(name).rows(1)
                    assert rows in (model.now.sets[name].rows, blocks)
                    model.now.sets[name] = replace(model.now.sets[name], rows=rows)
        if number == model.newest:
            assert not model.changed, "there was something to commit, but no commit was made"
            assert not (gists and behind), "gists were to be made, but no commit was"
        else:
            self._record(number)

    def _record(self, number: int) -> None:
        """Remember what the store's newest commit is expected to hold."""
        if number == self.model.newest:
            return
        assert number > self.model.newest
        for between in range(self.model.newest + 1, number):
            # Batches of a longer job; what they hold is not promised.
            self.expected.pop(between, None)
        self.model.commit(number)
        self.expected[number] = self._expect(number)

    def _openable(self) -> list[int]:
        """Commits that can be opened and of which is known what they hold."""
        found = {commit.number for commit in self.tree.commits()}
        first = max(self.kept_from, self.model.newest - self.kept + 1 if self.kept else 0)
        here = self.tree.store.identity
        promised = {number for number in self.expected if number >= first}
        promised |= {snapshot.commit for snapshot, _ in self.held if snapshot.store.identity == here}
        assert promised <= found, f"commits {sorted(promised - found)} are gone, but were to be kept"
        gone = [number for number in self.expected if number not in found]
        if gone:
            raises(CommitGoneError, lambda: self.tree.snapshot(gone[0]))
        return sorted(found & set(self.expected))

    def _compare_newest(self) -> None:
        with self.tree.snapshot() as snapshot:
            assert snapshot.commit == self.model.newest
            check_snapshot(snapshot, self.expected[snapshot.commit])

    def _drop_writer(self) -> None:
        if self.scribe is not None:
            self.scribe.writer.close()
            self.scribe = None
            self.model.abandon()

    def _compacted(self) -> None:
        self.model.compact(self.tree.commits()[-1].number)
        self.kept_from = self.model.newest
        self.expected = {self.model.newest: self._expect(self.model.newest)}

    def _crash_while_writing(self, edits: list[Edit], gists: bool, calls: int, durable: bool) -> None:
        self._crash(lambda tree: _write_and_die(tree, edits, gists, calls, durable), None)

    def _crash(self, work: Callable[[Tree], object], calls: int | None) -> None:
        path, encoders = self.path, self.encoders

        def child() -> None:
            with open_tree(path, encoders=encoders) as tree:
                if calls is not None:
                    kill_after(calls)
                work(tree)

        assert in_child(child) in (0, KILLED), f"a child failed (status {FAILED}; see its traceback)"


def raises(error: type[MctreeError], act: Callable[[], object]) -> None:
    """Do something that must raise `error`.

    Raises:
        AssertionError: it was done.
    """
    try:
        act()
    except error:
        return
    raise AssertionError(f"{error.__name__} was to be raised, but was not")


def _text(seed: int, size: int) -> bytes:
    return (strategies.patterned(seed, size, 95) + 32).astype("u1").tobytes()


def _write_and_die(tree: Tree, edits: list[Edit], gists: bool, calls: int, durable: bool) -> None:
    scribe = Scribe(tree.writer())
    for edit in edits:
        scribe.do(edit)
    if durable:
        kill_after_transaction(calls // 4)
    else:
        kill_after(calls)
    scribe.writer.commit(gists=gists)
    os._exit(KILLED)
