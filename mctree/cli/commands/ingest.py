"""`mctree ingest`: how do files become a tree, and how does a tree keep up with them?

What it takes to do that is loaded when the command line was understood, and while processes begin; see `ahead`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

import click

import mctree
from mctree.cli.ahead import painters_for
from mctree.cli.arguments import in_json
from mctree.cli.escaping import escape, one_line
from mctree.cli.formatting import compact, duration, number, plural, size
from mctree.cli.output import dim, fields, json_line, line, name, prose
from mctree.cli.progress import Meter, meter
from mctree.cores import cores
from mctree.errors import MctreeError, UsageError

if TYPE_CHECKING:
    from mctree.ingest import Progress, Report
    from mctree.sources import Format

__all__ = ["command", "default_store"]

_FORMATS = ("auto", "text", "jsonl", "parquet")
_MOST_PIXELS = 1 << 26
"""As `mctree.sources` has both, which takes long to load."""
_WORDS = {
    "sampling": "taking a sample of the input",
    "training": "training a tokenizer on the sample",
    "fitting": "fitting an encoder to the sample",
}
"""What is said of the steps that have no length that is known beforehand."""


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o", "--output", "store", metavar="STORE", help="The store; by default NAME.mctree, beside where you are."
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Take only what this gitignore pattern matches.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what this gitignore pattern matches.")
@click.option("--no-ignore", is_flag=True, help="Do not honour .gitignore and .mctreeignore.")
@click.option("--follow-symlinks", is_flag=True, help="Read what symbolic links lead to.")
@click.option("--max-bytes", type=click.IntRange(min=0), metavar="N", help="Skip documents of more than N bytes.")
@click.option("--no-images", is_flag=True, help="Read no images, which then count as binary.")
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=_MOST_PIXELS,
    metavar="N",
    help=f"Skip pictures of more than N pixels, which have to be decoded at once; {number(_MOST_PIXELS)} by default.",
)
@click.option(
    "--region",
    metavar="X0,Y0,X1,Y1",
    help="Read only this part of the one image that PATH is, in its pixels; other parts of it may come later.",
)
@click.option(
    "--finest",
    type=click.IntRange(min=0),
    default=0,
    metavar="L",
    help="Make no nodes of the one image that PATH is below level L, from the smaller sizes in it; 0: all.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    default="auto",
    show_default=True,
    help="How files are read; auto goes by their names, and by their content if they may be images.",
)
@click.option(
    "--text-field", default="text", show_default=True, metavar="FIELD", help="What holds the text of a record."
)
@click.option("--id-field", metavar="FIELD", help="What names a record; by default its line or row does.")
@click.option(
    "--tokenizer",
    metavar="WHICH",
    help="Of a new store: bytes, or the path of a tokenizer.json; by default one is trained.",
)
@click.option(
    "--encoder",
    type=click.Choice(["lexical", "none"]),
    help="What makes the gists of a new store's text; lexical by default.  With none, images have none, too.",
)
@click.option("--keep-vanished", is_flag=True, help="Keep documents whose files are gone.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Cores to use; by default all.")
@click.option("-v", "--verbose", is_flag=True, help="List what was skipped, and why, and what is no UTF-8.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no picture.")
@in_json
def command(
    paths: tuple[str, ...],
    store: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    no_ignore: bool,
    follow_symlinks: bool,
    max_bytes: int | None,
    no_images: bool,
    max_pixels: int,
    region: str | None,
    finest: int,
    format_: Format,
    text_field: str,
    id_field: str | None,
    tokenizer: str | None,
    encoder: Literal["lexical", "none"] | None,
    keep_vanished: bool,
    workers: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn files and folders into a tree, or bring a tree up to date.

    PATH is a file, a folder, or - for standard input.  Images become documents, too, and a text that is called as an
    image in its folder is, NAME.txt beside NAME.png, is linked to it as its caption.

    Run again, what did not change is not read, what grew is extended, what changed is superseded, and what is gone is
    removed.  Interrupted, at most the current batch is lost, and the same command goes on.  A bad record is reported
    when its file is read, so not again until that changes.
    """
    chosen = default_store(paths) if store is None else store
    part = region is not None or finest > 0
    early = () if part or no_images or format_ != "auto" else paths
    with (
        _unheard(),
        meter("looking", "bytes", quiet=quiet) as shown,
        painters_for(early, chosen, workers or cores()) as painters,
    ):
        from mctree.cli.imagery import as_region  # noqa: PLC0415  # a third of a second
        from mctree.ingest import ingest  # noqa: PLC0415  # as above

        try:
            report = ingest(
                paths,
                chosen,
                tokenizer=tokenizer,
                encoder=encoder,
                include=include,
                exclude=exclude,
                ignore_files=not no_ignore,
                follow_symlinks=follow_symlinks,
                max_bytes=max_bytes,
                images=not no_images,
                max_pixels=max_pixels,
                region=None if region is None else as_region(region),
                finest=finest,
                format=format_,
                text_field=text_field,
                id_field=id_field,
                keep_vanished=keep_vanished,
                workers=workers,
                processes=painters,
                on_event=lambda event: _show(shown, event),
            )
        except KeyboardInterrupt as error:
            error.add_note(_left(chosen))
            raise
    if as_json:
        json_line(_json(report, chosen))
        return
    _print(report, verbose)
    if not quiet:
        from mctree.cli.picture import draw_tree  # noqa: PLC0415  # as above

        line()
        with mctree.open(chosen, writable=False) as tree, tree.snapshot() as snapshot:
            draw_tree(snapshot)


@contextmanager
def _unheard() -> Iterator[None]:
    """Let libraries keep to themselves what they find odd about images: what cannot be read is in the report."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def default_store(paths: tuple[str, ...]) -> str:
    """`NAME.mctree` in the current folder, where NAME is the last part of the first path.

    Raises:
        UsageError: it has no such part.
    """
    first = "stdin" if paths[0] == "-" else os.path.basename(os.path.abspath(paths[0]))
    if not first:
        raise UsageError(f"{paths[0]!r} has no name to call the store by: name it with -o")
    return f"{first}.mctree"


def _left(store: str) -> str:
    """What an interrupted run has left behind."""
    if not os.path.lexists(store):
        return "nothing was written yet; the same command begins anew"
    with suppress(MctreeError, OSError), mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        if not snapshot.documents_count:
            return "no document was committed yet; the same command begins anew"
        documents = plural(snapshot.documents_count, "document")
        return f"{documents} committed so far; the same command goes on from there"
    return "what was committed is safe, and the same command goes on from there"


def _show(shown: Meter, event: Progress) -> None:
    if event.phase in _WORDS:
        shown.at(0, None, what=event.phase, note=_WORDS[event.phase])
        return
    note = f"{plural(event.documents, 'document')}" if event.documents else ""
    if event.images:
        note += f", {plural(event.images, 'image')} written"
    shown.at(event.bytes, event.total_bytes, what=event.phase, rate=event.rate, note=note)


def _print(report: Report, verbose: bool) -> None:
    counts = {
        "new": report.added,
        "changed": report.superseded,
        "grown": report.extended,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    said = ", ".join(f"{number(count)} {what}" for what, count in counts.items() if count)
    seconds = report.seconds - report.preparing_seconds
    read = [size(report.bytes_read), f"in {duration(seconds)}"]
    if report.bytes_read and seconds >= 0.1:
        read.append(f"· {size(report.bytes_read / seconds)}/s")
    if report.tokens:
        read.append(f"· {plural(report.tokens, 'token')} written")
    rows = [("changes", said or "nothing was found"), ("read", " ".join(read))]
    if report.images:
        rows.append(("images", f"{number(report.images)} written, {compact(report.pixels)} pixels read"))
    if report.commit_before is None and report.preparing_seconds >= 1:
        rows.insert(1, ("trained", f"in {duration(report.preparing_seconds)}, before that"))
    if not report.changed:
        rows.append(("commit", f"{report.commit_after}, as before"))
    if report.raw_count:
        hint = "" if verbose else dim(" · --verbose lists them")
        rows.append(("not UTF-8", f"{plural(report.raw_count, 'document')}, kept byte for byte{hint}"))
    if report.skipped_count:
        hint = "" if verbose else dim(" · --verbose lists them")
        rows.append(("skipped", number(report.skipped_count) + hint))
        rows += [("", f"{number(count)} × {one_line(reason)}") for reason, count in report.skipped_reasons.items()]
    fields(rows)
    if verbose:
        for raw in report.raw:
            prose(f"{name(escape(raw))}: not UTF-8", 4)
        if report.raw_count > len(report.raw):
            line(dim(f"… and {number(report.raw_count - len(report.raw))} more"))
        for skipped in report.skipped:
            prose(f"{name(escape(skipped.name))}: {one_line(skipped.reason)}", 4)
        if report.skipped_count > len(report.skipped):
            line(dim(f"… and {number(report.skipped_count - len(report.skipped))} more"))


def _json(report: Report, store: str) -> dict[str, object]:
    return {
        "store": escape(os.fsencode(os.path.abspath(store))),
        "added": report.added,
        "superseded": report.superseded,
        "extended": report.extended,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "bytes_read": report.bytes_read,
        "tokens": report.tokens,
        "images": report.images,
        "pixels": report.pixels,
        "seconds": round(report.seconds, 3),
        "preparing_seconds": round(report.preparing_seconds, 3),
        "commit_before": report.commit_before,
        "commit": report.commit_after,
        "changed": report.changed,
        "not_utf8": report.raw_count,
        "first_not_utf8": [escape(raw) for raw in report.raw],
        "skipped": report.skipped_count,
        "skipped_reasons": {one_line(reason): count for reason, count in report.skipped_reasons.items()},
        "first_skipped": [
            {"name": escape(skipped.name), "reason": one_line(skipped.reason)} for skipped in report.skipped
        ],
    }
