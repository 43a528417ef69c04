"""Which of many files are images, and which are the captions of others?  Content says the one, names the other.

A folder that mixes text and images is walked once, in the order of names (`mctree.sources.directory`).

* The first bytes of a file say whether it is an image; the ending of its name does not.  Only SQLite files, which may
  hold anything, have to be called `….mbtiles` as well.  Whether an image can be read is for `open_image` to say.
* A folder is an image if it is Zarr.  One of tiles looks like any folder of numbered folders (`2024/11/28.png`): it is
  an image where it is named itself, and never one that is come upon.
* A text is the *caption* of an image in the same folder if it is called as the image is, with `.txt` instead of the
  ending or behind it: `NAME.txt` or `NAME.png.txt` beside `NAME.png`.  It stays a document of its own, and is linked to
  the image.  `NAME.txt` may be the caption of several images (`NAME.png`, `NAME.jpg`), and an image may have two.

Names are compared byte by byte, but for the case of `.txt`.  Nothing here holds a folder in memory: a caption is judged
when it comes up, among the images that are known (`described_by`), and an image by what it may have (`caption_names`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mctree.errors import SourceError
from mctree.sources.directory import holds_store
from mctree.sources.files import RegularFile
from mctree.sources.images.folder_names import holds_zarr
from mctree.sources.images.sniffing import SNIFFED, Kind, kind_of_bytes
from mctree.sources.protocol import Skipped

__all__ = ["caption_names", "described_by", "is_image_folder", "sniffed"]

_TEXT = b".txt"
_MBTILES = b".mbtiles"


def sniffed(file: RegularFile) -> Kind | Skipped | None:
    """What kind of image a file is, None if it is none; `Skipped` if that cannot be told now."""
    opened = file.open()
    if isinstance(opened, Skipped):
        return opened
    with opened:
        try:
            kind = kind_of_bytes(opened.read_at(0, SNIFFED))
        except SourceError:
            return Skipped(file.name, "cannot be read", certain=False)
    return None if kind == "sqlite" and not file.name.lower().endswith(_MBTILES) else kind


def is_image_folder(path: bytes) -> bool:
    """Whether a folder that a walk comes upon is an image, and not to be walked."""
    return holds_zarr(path) and not holds_store(path)


def caption_names(image: bytes) -> tuple[bytes, ...]:
    """What the captions of an image may be called, the name with its whole ending first."""
    stem = _stem(image)
    return (image + _TEXT,) if stem is None else (image + _TEXT, stem + _TEXT)


def described_by(text: bytes, beside: Iterable[bytes]) -> Iterator[bytes]:
    """Which of some images a text is the caption of.

    Args:
        text: its name.
        beside: the names of images, of the same folder or of others.
    """
    if not text.lower().endswith(_TEXT):
        return
    called = text[: -len(_TEXT)]
    for image in beside:
        if called in (image, _stem(image)):
            yield image


def _stem(name: bytes) -> bytes | None:
    """A name without its ending; None if it has none, or would be nothing without."""
    folder, slash, last = name.rpartition(b"/")
    stem, dot, _ = last.rpartition(b".")
    return folder + slash + stem if dot and stem else None
