"""Where do stores for tests live, and are they whole when the test is over?

`scratch` is a folder in memory where the system has one, so that syncing costs little.  `verified` and `watched` see
to it that a store is verified when a test ends.  `made` makes a store, and the model of it, from a plan.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mctree.encoders import BytesTokenizer, Encoder
from mctree.errors import MctreeError
from mctree.testing.checks import Expected, check_snapshot
from mctree.testing.edits import Edit, Scribe
from mctree.testing.model import Model, ModelSet, RefusedError
from mctree.testing.toys import ToyEncoder
from mctree.tree import Tree, create, creation
from mctree.tree import open as open_tree

__all__ = ["Plan", "Sample", "Watch", "apply", "assert_whole", "made", "scratch", "verified", "watched"]

_CHUNK_BYTES = 1 << 16
_make_epoch = creation.make_epoch


@contextmanager
def scratch(prefix: str = "mctree-") -> Iterator[str]:
    """A temporary folder, in memory where there is one; removed in the end."""
    memory = "/dev/shm"  # noqa: S108  # the folder made in it has a name that nobody can guess
    usable = os.path.isdir(memory) and os.access(memory, os.W_OK)
    folder = tempfile.mkdtemp(prefix=prefix, dir=memory if usable else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def assert_whole(tree: Tree) -> None:
    """Verify a tree.

    Raises:
        AssertionError: something is not as it was committed; the first findings are in the message.
    """
    problems = [f"{problem.where} {problem.what} ({problem.kind})" for problem in tree.verify()]
    assert not problems, f"{tree.path} has {len(problems)} problems: " + "; ".join(problems[:5])


@contextmanager
def verified(path: str | os.PathLike[str], *, encoders: Sequence[Encoder] = ()) -> Iterator[None]:
    """Verify the store at `path` when the block ends well; it may be made in the block.

    Raises:
        AssertionError: something is not as it was committed.
    """
    yield
    with open_tree(path, writable=False, encoders=encoders) as tree:
        assert_whole(tree)


class Watch:
    """The stores made while it was watching."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def saw(self, path: str) -> None:
        """A store was made at `path`."""
        self._paths.append(os.path.abspath(path))

    def forget(self, path: str | os.PathLike[str]) -> None:
        """Do not verify the store at `path`: it was damaged on purpose."""
        gone = os.path.abspath(os.fspath(path))
        self._paths = [known for known in self._paths if known != gone]

    def forget_all(self) -> None:
        """Verify none of the stores made so far."""
        self._paths.clear()

    def verify(self) -> None:
        """Verify all stores that are still there.

        Raises:
            AssertionError: one of them does not open, or is not as it was committed.
        """
        for path in self._paths:
            if not os.path.isdir(path):
                continue
            try:
                with open_tree(path, writable=False) as tree:
                    assert_whole(tree)
            except MctreeError as error:
                raise AssertionError(f"a store made in this test does not open any more: {error}") from error


@contextmanager
def watched() -> Iterator[Watch]:
    """Verify every store that was made in the block, by this process, when it ends well.

    Blocks may be nested: a store belongs to the innermost.
    """
    watch, outer = Watch(), creation.make_epoch

    def make_epoch(path: str, *args: Any, **options: Any) -> None:
        _make_epoch(path, *args, **options)
        watch.saw(path)

    creation.make_epoch = make_epoch
    try:
        yield watch
    finally:
        creation.make_epoch = outer
    watch.verify()


@dataclass(frozen=True, slots=True)
class Plan:
    """A store that is yet to be made.

    Attributes:
        rounds: edits, and a commit after each tuple of them; what cannot be done where it stands is left out.
        vocabulary: for a store of bare tokens; None for one of bytes.
    """

    rounds: tuple[tuple[Edit, ...], ...]
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A store that was made from a plan.

    Attributes:
        tree: the store, open.
        model: what it holds.
    """

    tree: Tree
    model: Model

    @property
    def expected(self) -> Expected:
        """What its newest commit has to show."""
        return Expected(self.model.commits[self.model.newest])


def apply(scribe: Scribe, model: Model, edit: Edit) -> bool:
    """Do an edit to a store and to its model, which must agree on whether it can be done.

    Returns:
        Whether it was done.

    Raises:
        AssertionError: the store did what it has to refuse, or raised another error than it has to.
    """
    try:
        model.do(edit)
    except RefusedError as refused:
        try:
            scribe.do(edit)
        except refused.error:
            return False
        raise AssertionError(f"{edit} has to raise {refused.error.__name__} ({refused}), but was done") from None
    scribe.do(edit)
    return True


@contextmanager
def made(plan: Plan, *, encoder: Encoder | None = None, path: str | None = None) -> Iterator[Sample]:
    """Make a store with gists from a plan; it is compared with its model first, and verified when the block ends.

    Args:
        plan: what to put in.
        encoder: makes the gists; a `ToyEncoder` if none is given.
        path: where; in a scratch folder if none is given, which is removed in the end.
    """
    if path is None:
        with scratch() as folder, made(plan, encoder=encoder, path=os.path.join(folder, "made.mctree")) as sample:
            yield sample
        return
    encoder = encoder or ToyEncoder()
    tokenizer = BytesTokenizer() if plan.vocabulary is None else None
    with create(path, tokenizer=tokenizer, vocabulary=plan.vocabulary, chunk_bytes=_CHUNK_BYTES) as tree:
        model = Model(tokenizer, tree.vocabulary, tree.commits()[-1].number)
        tree.build_gists(encoder)
        model.now.sets["default"] = ModelSet(encoder, "float16", 0, model.newest)
        model.now.default = "default"
        model.commit(tree.commits()[-1].number)
        for edits in plan.rounds:
            with tree.writer() as writer:
                scribe = Scribe(writer)
                for edit in edits:
                    apply(scribe, model, edit)
                number = writer.commit(gists=True)
            model.gists_made()
            model.commit(number)
            model.abandon()
        sample = Sample(tree, model)
        with tree.snapshot() as snapshot:
            check_snapshot(snapshot, sample.expected)
        yield sample
        assert_whole(tree)
