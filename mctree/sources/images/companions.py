"""Which texts are the captions of which images?  Names say it.

A text is the *caption* of an image in the same folder if it is called as the image is, with `.txt` instead of the
ending or behind it: `NAME.txt` or `NAME.png.txt` beside `NAME.png`.  `NAME.txt` may be the caption of several images
(`NAME.png`, `NAME.jpg`), and an image may have two.  Names are compared byte by byte, but for the case of `.txt`.

Names that come in bytewise order are matched as they come (`Companions`).  What may still be matched is held, and let
go of as soon as its turn is over: captions of an image are called so that they come up soon after it or shortly
before.  So a folder of a million images and captions is matched with a few names in memory.
"""

from __future__ import annotations

import heapq

__all__ = ["Companions", "caption_names", "is_caption_name"]

_TEXT = b".txt"


def is_caption_name(name: bytes) -> bool:
    """Whether a text of this name can be a caption."""
    return name.lower().endswith(_TEXT)


def caption_names(image: bytes) -> tuple[bytes, ...]:
    """What the captions of an image may be called, the name with its whole ending first; `.txt` in lower case."""
    stem = _stem(image)
    return (image + _TEXT,) if stem is None else (image + _TEXT, stem + _TEXT)


class Companions:
    """Matches images and texts whose names come in bytewise order, a folder's with `/` at its end, root after root."""

    def __init__(self) -> None:
        self._images: dict[bytes, list[tuple[bytes, bool]]] = {}
        self._texts: dict[bytes, list[tuple[bytes, bool]]] = {}
        self._until: list[tuple[bytes, bool, bytes]] = []

    def image(self, name: bytes, *, changed: bool, folder: bool = False) -> list[tuple[bytes, bytes]]:
        """An image comes up.

        Args:
            name: of it.
            changed: it is new, or another one than before.
            folder: it is a folder.

        Returns:
            It and those texts before it that are its captions, where either has changed.
        """
        self._come_to(name + b"/" if folder else name)
        wanted = caption_names(name)
        for text in wanted:
            self._images.setdefault(text, []).append((name, changed))
            heapq.heappush(self._until, (max(wanted), True, text))
        texts = [found for text in wanted for found in self._texts.get(text, ())]
        return [(name, text) for text, other in texts if changed or other]

    def text(self, name: bytes, *, changed: bool) -> list[tuple[bytes, bytes]]:
        """A text comes up.

        Args:
            name: of it.
            changed: it is new, or another one than before.

        Returns:
            Those images before it that it is the caption of, and it, where either has changed.
        """
        if not is_caption_name(name):
            return []
        self._come_to(name)
        stem = name[: -len(_TEXT)]
        self._texts.setdefault(stem + _TEXT, []).append((name, changed))
        # Images that are called so, or so with an ending, come before whatever goes on with a later byte than `.`.
        heapq.heappush(self._until, (stem + b"/", False, stem + _TEXT))
        return [(image, name) for image, other in self._images.get(stem + _TEXT, ()) if changed or other]

    def __len__(self) -> int:
        """How many names are held."""
        return len(self._until)

    def _come_to(self, name: bytes) -> None:
        """Let go of what nothing from this name on belongs to; what a root of greater names has left is little."""
        while self._until and self._until[0][0] < name:
            _, of_image, text = heapq.heappop(self._until)
            (self._images if of_image else self._texts).pop(text, None)


def _stem(name: bytes) -> bytes | None:
    """A name without its ending; None if it has none, or would be nothing without."""
    folder, slash, last = name.rpartition(b"/")
    stem, dot, _ = last.rpartition(b".")
    return folder + slash + stem if dot and stem else None
