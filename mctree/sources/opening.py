"""How does a caller say what to read?  One function, which checks everything before anything is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO, get_args

from mctree.errors import UsageError
from mctree.sources.ignore import Filter, parse_option
from mctree.sources.images.bounded import MOST_PIXELS
from mctree.sources.jsonl import LONGEST_LINE
from mctree.sources.locating import locate, reject_clashes
from mctree.sources.path_source import Format, PathSource, Reading
from mctree.sources.plain import Images
from mctree.sources.protocol import Source
from mctree.sources.records import Fields
from mctree.sources.told import Told

__all__ = ["open_source"]


def open_source(
    paths: Sequence[str | os.PathLike[str]],
    *,
    names: Sequence[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    ignore_files: bool = True,
    follow_symlinks: bool = False,
    format: Format = "auto",  # noqa: A002
    text_field: str = "text",
    id_field: str | None = None,
    max_bytes: int | None = None,
    max_line: int = LONGEST_LINE,
    images: bool = False,
    max_pixels: int = MOST_PIXELS,
    stdin: BinaryIO | None = None,
    told: Told | None = None,
) -> Source:
    """Open files, folders and standard input as one source.

    Args:
        paths: `-` is standard input.  A path given here is taken even if it is a link, or would be ignored below one
            of the others' folders.
        names: what the paths are called in the store, one each; by default the last part of each path, and `stdin`.
        include: take only files that these gitignore patterns match, relative to each folder given.
        exclude: leave out what these gitignore patterns match; a negated one overrules ignore files.
        ignore_files: honour `.mctreeignore` and `.gitignore`, from the folders given downwards.
        follow_symlinks: read what symbolic links lead to; by default they are reported and skipped.
        format: how files are read; `auto` goes by the path's ending (`.jsonl`, `.ndjson`, either with `.gz`,
            `.parquet`; any other is text) and takes standard input for text.
        text_field: the field or column of a record that holds its text.
        id_field: the one that names it; by default it is named by its line or row.
        max_bytes: skip documents that are larger.
        max_line: skip lines of JSONL that have more bytes.
        images: hand over images as such; else they are skipped as binary.  They are told by their content, and only
            where the format is `auto`.
        max_pixels: of an image: the most that are decoded in one piece.
        stdin: read instead of the process's own standard input; it is not closed.
        told: shared by sources that are opened for one run, so that what a folder is is told once; None: each iteration
            tells it anew.

    Raises:
        UsageError: an argument makes no sense; two paths have one name; one path lies within another.
        SourceError: a path does not exist, cannot be entered, or is neither a file nor a folder.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise UsageError("paths is a list of paths, not one path: put it in brackets")
    if not paths:
        raise UsageError("no input is given: name a file or a folder, or - for standard input")
    if isinstance(names, str | bytes):
        raise UsageError("names is a list of names, not one name: put it in brackets")
    if names is not None and len(names) != len(paths):
        raise UsageError(f"{len(names)} names are given for {len(paths)} paths: give one each")
    if format not in get_args(Format):
        raise UsageError(f"format {format!r} is unknown: choose one of {', '.join(get_args(Format))}")
    if max_line < 1 or (max_bytes is not None and max_bytes < 0):
        raise UsageError("max_line and max_bytes are limits in bytes: give positive numbers")
    if max_pixels < 1:
        raise UsageError(f"max_pixels is a number of pixels, 1 or more, and not {max_pixels}")
    chosen = [None] * len(paths) if names is None else [os.fsencode(name) for name in names]
    roots = [locate(os.fsencode(path), name) for path, name in zip(paths, chosen, strict=True)]
    reject_clashes(roots)
    if format == "parquet" and any(root.path is None for root in roots):
        raise UsageError("Parquet cannot be read from standard input: put it in a file")
    wanted = Filter(parse_option("exclude", exclude), parse_option("include", include) if include else None)
    wanted_images = Images(max_pixels) if images and format == "auto" else None
    reading = Reading(format, Fields(text_field, id_field, max_bytes), max_line, wanted_images)
    return PathSource(roots, wanted, reading, ignore_files=ignore_files, follow=follow_symlinks, stdin=stdin, told=told)
