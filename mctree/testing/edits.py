"""How can a document be changed, said as data?  One edit each, that a writer and a model both understand.

An edit names its document by its source and means something in every state: where it cannot be done, the writer has
to refuse it, and the model says with which error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mctree.tree import OpenDocument, Writer

__all__ = ["Action", "Edit", "Scribe"]

Action = Literal["begin", "reopen", "write", "extend", "close", "add", "remove"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one document.

    Attributes:
        action: what to do; `write`, `extend` and `close` reopen the document if the writer has no handle of it.
        source: which document.
        data: bytes to `write` or `add`.
        tokens: tokens to `extend` by.
        replace: whether `begin` and `add` supersede a live document.
    """

    action: Action
    source: bytes
    data: bytes = b""
    tokens: tuple[int, ...] = ()
    replace: bool = False

    def __repr__(self) -> str:
        shown = [repr(self.action), _short(self.source)]
        if self.data:
            shown.append(f"data={_short(self.data)}")
        if self.tokens:
            shown.append(f"tokens={self.tokens!r}" if len(self.tokens) <= 40 else f"tokens=<{len(self.tokens)}>")
        if self.replace:
            shown.append("replace=True")
        return f"Edit({', '.join(shown)})"


class Scribe:
    """A writer that takes edits, and keeps the handles of documents that it opened.

    Attributes:
        writer: what it writes with.
        handles: the last handle of each source.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.handles: dict[bytes, OpenDocument] = {}

    def do(self, edit: Edit) -> None:
        """Do one edit; errors are the writer's own."""
        writer, source = self.writer, edit.source
        match edit.action:
            case "begin":
                self.handles[source] = writer.begin(source, replace=edit.replace)
            case "reopen":
                self.handles[source] = writer.reopen(source)
            case "write":
                self._handle(source).write(edit.data)
            case "extend":
                self._handle(source).extend(edit.tokens)
            case "close":
                self._handle(source).close()
            case "add":
                writer.add(source, edit.data, replace=edit.replace)
            case "remove":
                writer.remove(source)

    def _handle(self, source: bytes) -> OpenDocument:
        if source not in self.handles:
            self.handles[source] = self.writer.reopen(source)
        return self.handles[source]


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 40 else f"<{len(data)} bytes, {data[:8]!r} …>"
