"""Does a snapshot read the same for as long as somebody holds it?  One is held while others write, and read again.

Either by the process that writes, or by another one, which lives on when that is killed.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import mctree
from mctree.errors import CommitGoneError, MctreeError
from mctree.testing.dump import dump
from mctree.testing.processes import forked

__all__ = ["Watcher", "holding", "read_again"]

_PATIENCE = 120


@contextmanager
def holding(tree: mctree.Tree, which: int | None) -> Iterator[None]:
    """Hold a snapshot for the length of a block, and read it again when that ends, however it ends.

    Args:
        tree: the tree.
        which: of which of the commits that open, oldest first; of none if None.

    Raises:
        AssertionError: it does not read what it read before.
    """
    if which is None:
        yield
        return
    with tree.snapshot(tree.commits()[which].number) as snapshot:
        read = [*dump(snapshot)]
        try:
            yield
        finally:
            try:
                read_again(snapshot, read)
            except (MctreeError, OSError) as error:
                raise AssertionError(f"a snapshot that was held: {type(error).__name__}: {error}") from error


class Watcher:
    """A child that holds a snapshot of the newest commit until it is asked for it.

    Args:
        path: the store.
    """

    def __init__(self, path: str) -> None:
        self._told, telling = os.pipe()
        asked, self._asking = os.pipe()

        def watch() -> None:
            signal.alarm(_PATIENCE)
            with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
                read = [*dump(snapshot)]
                os.write(telling, b".")
                os.read(asked, 1)
                try:
                    read_again(snapshot, read)
                except (AssertionError, MctreeError, OSError) as error:
                    os.write(telling, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))

        self._child = forked(watch)
        os.close(telling)
        os.close(asked)
        os.read(self._told, 1)  # it holds it now

    def problems(self) -> list[str]:
        """What is wrong with what it reads now; it lets go of it."""
        with suppress(BrokenPipeError):  # it has ended, which is told of below
            os.write(self._asking, b".")
        os.close(self._asking)
        with os.fdopen(self._told, "rb") as stream:
            said = stream.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return [f"another process: {said}"] * bool(said) + [f"another process ended with {status}"] * bool(status)


def read_again(snapshot: mctree.Snapshot, read: list[str]) -> None:
    """Make sure that a snapshot that is held reads what it read.

    Args:
        snapshot: the snapshot.
        read: its dump, as it was before.

    Raises:
        AssertionError: it reads something else; or what reading it raises.
    """
    try:
        assert [*dump(snapshot)] == read, "a snapshot that was held reads something else"
        # Files that were taken away can still be read by who has them open: so they are opened anew.
        with closing(pickle.loads(pickle.dumps(snapshot))) as anew, anew.tree:
            assert [*dump(anew)] == read, "a snapshot that was held, and was opened anew, reads something else"
    except CommitGoneError:
        if snapshot.store.leases.writable:  # who could take no lease may be told that it has gone
            raise
