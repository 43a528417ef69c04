"""`mctree gist`: how do gist sets come, change and go?"""

from __future__ import annotations

from collections.abc import Sequence

import click

import mctree
from mctree import Snapshot
from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.escaping import one_line
from mctree.cli.formatting import number, plural
from mctree.cli.output import fields, fits, json_line, prose, table, warn
from mctree.cli.progress import advancing
from mctree.cli.samples import sample
from mctree.cli.summary import summarise
from mctree.encoders import CosineEncoder, Encoder
from mctree.encoders.lexical import LexicalEncoder
from mctree.errors import NotFoundError, UsageError
from mctree.ingest.images import SET_NAME
from mctree.tree import checked_set_name

__all__ = ["command"]

_HEAD = ("dim", "type", "gists", "waiting", "stale", "encoder", "", "name")
_FIRST_NAME = "default"
_DIM = 512
_CHANNELS = 3
_SAMPLE_BYTES = 8 << 20

_quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")


class _InOrder(click.Group):
    """Lists its commands as they were written down."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group("gist", cls=_InOrder)
def command() -> None:
    """Build, refresh, choose and drop gist sets.

    A gist set holds the gists that one encoder made of all nodes.  Any number of sets stand side by side; what searches
    uses the default one, unless told otherwise.
    """


@command.command("build", short_help="Make the gists that a set lacks.")
@store_argument
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the set; by default that of the default set, and images-N for images of N channels.",
)
@click.option(
    "--encoder",
    type=click.Choice(["lexical", "cosine"]),
    default="lexical",
    show_default=True,
    help="What makes the gists: of text, or of images.",
)
@click.option("--dim", type=click.IntRange(8, 1 << 13), metavar="N", help=f"Length of a gist of text; {_DIM} if new.")
@click.option(
    "--channels", type=click.IntRange(1, 64), metavar="N", help="Of the images that are encoded; 3 if unsaid."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="How the gists of a new set are stored.",
)
@click.option(
    "--default/--no-default", default=None, help="Make it the default set; by default the first one of text is."
)
@_quiet
@in_json
def build(
    store: str,
    name: str | None,
    encoder: str,
    dim: int | None,
    channels: int | None,
    dtype: str,
    default: bool | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the gists that a set lacks; a new set of text starts with an encoder fitted to this store.

    The set is built batch by batch: interrupted, it goes on where it was.  Images whose pixels are not kept are read
    from where they came from.
    """
    if encoder == "cosine" and dim is not None:
        raise UsageError("--dim is of gists of text: those of images have 16 numbers for each channel")
    if encoder != "cosine" and channels is not None:
        raise UsageError("--channels is of images: give --encoder cosine, too")
    with mctree.open(store) as tree:
        # Who is in the way is better known before the work than after.
        tree.writer().close()
        with tree.snapshot() as snapshot:
            if encoder == "cosine":
                chosen = checked_set_name(name or SET_NAME.format(channels=channels or _CHANNELS))
            else:
                chosen = checked_set_name(name or snapshot.default_gists or _FIRST_NAME)
            maker = _maker(snapshot, chosen, encoder, dim, channels, quiet=quiet)
        with advancing(f"building {chosen}", "blocks", quiet=quiet) as progress:
            made = tree.build_gists(maker, chosen, dtype=dtype, default=default, progress=progress)
        with tree.snapshot() as snapshot:
            (total,) = (each.gists for each in summarise(snapshot).sets if each.name == chosen)
            is_default, commit = snapshot.default_gists == chosen, snapshot.commit
    if as_json:
        json_line({"name": chosen, "blocks": made, "gists": total, "default": is_default, "commit": commit})
        return
    state = "the default set" if is_default else "not the default set"
    blocks = f"{plural(made, 'block')} encoded, " if encoder != "cosine" else ""
    prose(f"gist set {chosen}: {blocks}{plural(total, 'gist')} in all, {state}")


@command.command("refresh", short_help="Make stale gists again.")
@store_argument
@click.option("--name", metavar="NAME", help="The set; the default one if none is named.")
@_quiet
@in_json
def refresh(store: str, name: str | None, quiet: bool, as_json: bool) -> None:
    """Make stale gists again, and only those.

    A gist is stale when a document under its node was replaced or removed after it was made, or a part of an image
    was changed by somebody who did not have the set's encoder.
    """
    with mctree.open(store) as tree:
        with tree.snapshot() as snapshot:
            chosen = snapshot.gists(name).name
        done = 0
        with advancing(f"refreshing {one_line(chosen)}", "runs of dead blocks", quiet=quiet) as progress:

            def step(batch: int, waiting: int) -> None:
                nonlocal done
                done += batch
                progress(done, done + waiting - batch)

            made = tree.refresh_gists(chosen, progress=step)
        with tree.snapshot() as snapshot:
            commit = snapshot.commit
    if as_json:
        json_line({"name": chosen, "gists": made, "commit": commit})
        return
    prose(f"gist set {one_line(chosen)}: {plural(made, 'gist')} made again")


@command.command("default", short_help="Make a set the default one.")
@store_argument
@click.argument("name")
def default_set(store: str, name: str) -> None:
    """Make NAME the default set, in one commit; older commits keep theirs."""
    with mctree.open(store) as tree:
        tree.set_default_gists(name)
    prose(f"gist set {one_line(name)} is the default set")


@command.command("drop", short_help="Let a set be gone.")
@store_argument
@click.argument("name")
def drop(store: str, name: str) -> None:
    """Let the set NAME be gone; older commits still see it."""
    with mctree.open(store) as tree:
        tree.drop_gists(name)
        with tree.snapshot() as snapshot:
            default = snapshot.default_gists
    rest = "" if default else "; no default set is left, which `search` and `focus` need: `mctree gist default NAME`"
    prose(f"gist set {one_line(name)} is dropped{rest}")


@command.command("list", short_help="List the gist sets.")
@store_argument
@at_commit
@in_json
def list_sets(store: str, commit: int | None, as_json: bool) -> None:
    """List the gist sets: dimension, gists, how many blocks and images wait for theirs, stale ones, encoder, name."""
    with reading(store, commit) as snapshot:
        summary = summarise(snapshot)
    if as_json:
        for each in summary.sets:
            json_line(each.json())
        return
    rows = [
        [
            number(each.dim),
            each.dtype,
            number(each.gists),
            number(each.waiting),
            number(each.stale),
            each.kind,
            "default" if each.default else "",
            each.name,
        ]
        for each in summary.sets
    ]
    if fits(_HEAD, rows):
        table(_HEAD, rows, align="><>>><<")
    else:
        fields((row[-1], _words(row)) for row in rows)


def _words(row: Sequence[str]) -> str:
    """A set where a table has no room."""
    length, dtype, gists, waiting, stale, encoder, default, _ = row
    parts = [f"{encoder}, {length} × {dtype}", f"{gists} gists", f"{waiting} waiting", f"{stale} stale"]
    return " · ".join(parts + ["default set"] * bool(default))


def _maker(
    snapshot: Snapshot, name: str, kind: str, dim: int | None, channels: int | None, *, quiet: bool
) -> Encoder | CosineEncoder:
    """What makes the gists of a set, which may be a new one."""
    if kind == "cosine":
        return CosineEncoder(channels or _CHANNELS)
    maker = _encoder_of(snapshot, name, kind, dim)
    if maker is None:
        if not quiet:
            warn(f"fitting a {kind} encoder to {plural(snapshot.documents_count, 'document')}")
        maker = _fitted(snapshot, _DIM if dim is None else dim)
    return maker


def _encoder_of(snapshot: Snapshot, name: str, kind: str, dim: int | None) -> Encoder | None:
    """The encoder of the set of that name, if there is one: a set is gone on with as it was begun."""
    try:
        view = snapshot.gists(name)
    except NotFoundError:
        return None
    if view.record.kind != kind or dim not in (None, view.dim):
        has = f"{one_line(view.record.kind)} gists of {view.dim}"
        raise UsageError(f"gist set {name!r} has {has}; choose another name, or drop it first")
    return view.encoder()


def _fitted(snapshot: Snapshot, dim: int) -> Encoder:
    tokenizer = snapshot.tree.tokenizer
    if tokenizer is None:
        raise UsageError("the store holds bare tokens, and lexical gists are made of text")
    return LexicalEncoder.fit(tokenizer, sample(snapshot, _SAMPLE_BYTES), dim, _SAMPLE_BYTES)
