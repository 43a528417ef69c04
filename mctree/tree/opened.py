"""Which documents does a writing session work on?  Those begun, reopened and removed, by number and by name.

A source's name stands for at most one live document, committed or about to be: whoever asks is told of the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import DocumentRecord
from mctree.tree.arguments import as_locator, as_source, source_shown
from mctree.tree.pending import Removed
from mctree.tree.placing import OpenDocument
from mctree.tree.timeline import Timeline

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.tree import Tree

__all__ = ["OpenedDocuments"]


class OpenedDocuments:
    """The documents of one writing session.

    Args:
        tree: gives the tokenizer.
        snapshot: the newest commit, wherever it goes.
        timeline: where their blocks are placed.

    Attributes:
        changed: those that the next commit may have to record, by number.
        removed: those that it ends, by number.
    """

    def __init__(self, tree: Tree, snapshot: Snapshot, timeline: Timeline) -> None:
        self.changed: dict[int, OpenDocument] = {}
        self.removed: dict[int, Removed] = {}
        self._tree = tree
        self._snapshot = snapshot
        self._timeline = timeline
        self._documents: dict[int, OpenDocument] = {}
        self._sources: dict[bytes, int] = {}

    def begin(self, number: int, record: DocumentRecord) -> OpenDocument:
        """Start a new document; the caller has seen to it that its name is free."""
        document = OpenDocument(
            number, record, self._timeline, self._tree.tokenizer, self._tree.vocabulary, changed=self._note
        )
        self._sources[record.source] = number
        self._documents[number] = self.changed[number] = document
        return document

    def reopen(self, which: int | bytes | str, locator: Mapping[str, int | str] | None) -> OpenDocument:
        """Go on with a committed document, or with one that is open already.

        Raises:
            NotFoundError: there is no such live document.
            UsageError: it was closed since the last commit, or the locator cannot be stored.
        """
        number = self.number(which)
        known = self._documents.get(number)
        if known is not None:
            if not known.open:
                raise UsageError(f"document {number} was closed since the last commit; commit before reopening it")
            return known
        found = self._snapshot.document(number)
        if found.record.media == "image":
            raise UsageError(f"document {number} is an image: change a region of it, or replace it")
        place = found.record.locator if locator is None else as_locator(locator)
        document = OpenDocument(
            found.id,
            replace(found.record, open=True, size=found.size, tokens=0, digest=b"", locator=place),
            self._timeline,
            self._tree.tokenizer,
            self._tree.vocabulary,
            runs=found.runs,
            tail=found.tail,
            start=found.placed_size if found.tail is None else found.tail.start,
            size=found.size,
            tokens=found.tokens,
            changed=self._note,
        )
        document.changes.record = not found.open or locator is not None
        self._documents[found.id] = self.changed[found.id] = document
        return document

    def remove(self, which: int | bytes | str) -> None:
        """Let a committed document end.

        Raises:
            NotFoundError: there is no such live document.
            UsageError: it has changes that are not committed.
        """
        number = self.number(which)
        self.require_removable(number)
        known = self._documents.get(number)
        found = self._snapshot.document(number)
        runs = [(run.block, run.block + run.blocks) for run in found.runs]
        tokens = [self._snapshot.world.placed(start, stop) for start, stop in runs]
        tail = found.tail
        self.removed[found.id] = Removed(
            found.source, runs, tokens, has_tail=tail is not None, tail_tokens=0 if tail is None else len(tail.tokens)
        )
        if known is not None:
            known.discard()
        self._documents.pop(found.id, None)
        self.changed.pop(found.id, None)

    def require_removable(self, number: int) -> None:
        """Make sure that a live document can be removed.

        Raises:
            UsageError: it has changes that are not committed.
        """
        known = self._documents.get(number)
        if known is not None and known.changes:
            raise UsageError(f"document {number} has changes that are not committed; commit before removing it")

    def abandon(self, document: OpenDocument, blocks: int) -> None:
        """Forget a document that was begun since the last commit, and the blocks placed since; nobody saw them."""
        document.discard()
        self._timeline.truncate(blocks)
        self._documents.pop(document.id, None)
        self.changed.pop(document.id, None)
        self._sources.pop(document.source, None)
        self.removed.pop(document.record.previous, None)

    def live(self, source: bytes) -> int:
        """The live document of a source (0: none)."""
        if source in self._sources:
            return self._sources[source]
        # A store that is being filled for the first time is asked for each of its documents.
        number = self._snapshot.number(source) if self._snapshot.documents_count else 0
        return 0 if number in self.removed else number

    def number(self, which: int | bytes | str) -> int:
        """The number of a live document.

        Raises:
            NotFoundError: there is none.
        """
        number = which if isinstance(which, int) else self.live(as_source(which))
        if not number or number in self.removed:
            raise NotFoundError(f"there is no live document {source_shown(which)!r}; `mctree docs` lists them")
        return number

    def committed(self) -> None:
        """Go on from the commit that was just made of them."""
        for number, document in self.changed.items():
            document.committed()
            if not document.open:
                self._documents.pop(number, None)
        self.changed.clear()
        self.removed.clear()
        self._sources.clear()

    def _note(self, document: OpenDocument) -> None:
        self.changed[document.id] = document
