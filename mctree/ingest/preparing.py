"""Into which store, with which tokenizer and which gists?  What the arguments say, held against what is there.

A new store gets the tokenizer and encoder that are asked for; by default a byte-level tokenizer trained on a sample of
the corpus, and lexical gists fitted to it.  Where there are images and no text at all, bytes are the tokens of what may
come, and no word counts as rare.  Making the store is one step and making its gist set another, so that the encoder is
fitted, and where it can be the sample for that drawn, while the first inputs are tokenized: a store in which nothing
was ever written is treated as new, so that a run which was broken off in between does no harm.

A store that holds something keeps what it has; arguments that say otherwise are an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mctree.encoders import BytesTokenizer, Encoder, HFTokenizer, Tokenizer, train_bpe
from mctree.encoders.lexical import LexicalEncoder
from mctree.encoders.tokenizers import MAX_TOKENIZER_BYTES
from mctree.errors import SourceError, StoreExistsError, UsageError
from mctree.format.facts import Stamp
from mctree.ingest.sample import Sample
from mctree.sources.names import shown
from mctree.tree import Snapshot, Tree, create
from mctree.tree import open as open_tree
from mctree.tree.sets import begin_gists
from mctree.tree.writer import Writer

__all__ = [
    "EncoderChoice",
    "Prepared",
    "Purpose",
    "TokenizerChoice",
    "begin",
    "fitting_bytes",
    "is_new",
    "prepare",
    "read_tokenizer",
]

TokenizerChoice = Tokenizer | str | os.PathLike[str] | None
EncoderChoice = Encoder | Literal["lexical", "none"] | None
Purpose = Literal["training", "fitting"]
"""What is done with a sample first."""

_TRAINING_SHARE, _TRAINING_LEAST, _TRAINING_MOST = 4, 4 << 20, 16 << 20
_FITTING_SHARE, _FITTING_LEAST, _FITTING_MOST = 32, 1 << 20, 8 << 20
"""Of how much of the corpus, as a divisor and in bytes, the tokenizer and the encoder are made: enough to be of use,
and little beside what ingesting the corpus takes."""

_SET_NAME = "default"
_NO_GISTS = b"\0no gists"
"""The name of a stamp that says that none are wanted; no input has a NUL in its name."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A store that documents can be written into.

    Attributes:
        tree: the store, open.
        encoder: of a new store, what makes the encoder of its first gist set, which may take a while, and which `begin`
            is for (it gives None if no gists are wanted); None for a store that has its own.
        made: whether the store was made just now.
    """

    tree: Tree
    encoder: Callable[[], Encoder | None] | None
    made: bool


def prepare(
    store: str | os.PathLike[str],
    tokenizer: TokenizerChoice,
    encoder: EncoderChoice,
    sample: Callable[[int, Purpose], Sample],
    *,
    again: bool,
    chunk_bytes: int,
) -> Prepared:
    """Open a store, or make it.

    Args:
        store: its path.
        tokenizer: an object, "bytes", the path of a `tokenizer.json`, or None for the store's own or a trained one.
        encoder: an object, "lexical", "none", or None for the store's own or a lexical one.
        sample: draws a sample of so many bytes, for what is done with it first; called at most once, and only if
            something is to be made of it.
        again: whether a sample can still be drawn when reading has begun.
        chunk_bytes: wished size of chunk files of a new store.

    Raises:
        UsageError: an argument makes no sense, or contradicts the store.
        SourceError: the tokenizer cannot be read, or there is neither text to train one on nor an image.
        NotAStoreError: something else is at the path.
    """
    if isinstance(encoder, str) and encoder not in ("lexical", "none"):
        raise UsageError(f"encoder {encoder!r} is unknown: choose lexical or none, or pass an Encoder")
    given = read_tokenizer(tokenizer)
    drawn: list[Sample] = []

    def once(size: int, purpose: Purpose) -> Sample:
        if not drawn:
            drawn.append(sample(size, purpose))
        return drawn[0]

    own = () if encoder is None or isinstance(encoder, str) else (encoder,)
    made = not os.path.lexists(store)
    if made:
        chosen = given or _trained(once(_TRAINING_MOST, "training"))
        try:
            tree = create(store, tokenizer=chosen, chunk_bytes=chunk_bytes)
        except StoreExistsError:
            made = False  # somebody else has made it meanwhile
    if not made:
        tree = open_tree(store, encoders=own)
    try:
        tokenizer = _checked_tokenizer(tree, given)
        with tree.snapshot() as snapshot:
            new = is_new(snapshot)
        if not new:
            _check_encoder(tree, encoder)
            return Prepared(tree, None, made)
        fitting = encoder is None or encoder == "lexical"
        if fitting and not again:
            once(_FITTING_MOST, "fitting")
    except BaseException:
        tree.close()
        raise

    def choose() -> Encoder | None:
        if fitting:
            return _fitted(tokenizer, once(_FITTING_MOST, "fitting"))
        return encoder if isinstance(encoder, Encoder) else None

    return Prepared(tree, choose, made)


def begin(writer: Writer, encoder: Encoder | None) -> None:
    """Give a new store its first gist set, or note that none is wanted."""
    if encoder is not None:
        begin_gists(writer, encoder, _SET_NAME)
    else:
        writer.stamp(_NO_GISTS, Stamp(0, 0, 0, 0, 0, b""))
        writer.keep_stamps()


def read_tokenizer(choice: TokenizerChoice) -> Tokenizer | None:
    """The tokenizer that an argument stands for.

    Raises:
        SourceError: its file cannot be read, or holds no tokenizer.
    """
    if choice is None or isinstance(choice, Tokenizer):
        return choice
    if choice == "bytes":
        return BytesTokenizer()
    try:
        # A FIFO would be waited for, and a device may have no end: only files are read, and no more than can be one.
        with open(choice, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError(f"the tokenizer {os.fspath(choice)!r} is no file: give bytes or a tokenizer.json")
            dump = file.read(MAX_TOKENIZER_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(
            f"the tokenizer {os.fspath(choice)!r} cannot be read ({reason}): give bytes or a tokenizer.json"
        ) from error
    try:
        return HFTokenizer(dump)
    except SourceError as error:
        raise SourceError(f"{os.fspath(choice)!r}: {error}") from error


def is_new(snapshot: Snapshot) -> bool:
    """Whether nothing was ever written, and nothing was said of gists."""
    empty = not snapshot.blocks and not snapshot.documents_count and not snapshot.gist_sets()
    return empty and snapshot.stamp(_NO_GISTS) is None


def fitting_bytes(total: int) -> int:
    """How many bytes of a corpus of `total` bytes the encoder is fitted to."""
    return min(max(total // _FITTING_SHARE, _FITTING_LEAST), _FITTING_MOST)


def _trained(sample: Sample) -> Tokenizer:
    _require_some(sample, "a tokenizer", 'pass a tokenizer, such as "bytes"')
    if not sample.texts and sample.images:
        return BytesTokenizer()
    if not sample.texts:
        such = "" if (met := sample.skipped) is None else f", such as {shown(met.name)} ({met.reason})"
        raise SourceError(
            f"no text was found, so no store was made: check the paths, and what is left out of them{such}"
        )
    share = _TRAINING_MOST if sample.total is None else max(sample.total // _TRAINING_SHARE, _TRAINING_LEAST)
    size = min(share, _TRAINING_MOST)
    return train_bpe(sample.thinned(size), sample_bytes=size)


def _require_some(sample: Sample, what: str, instead: str) -> None:
    """See to it that what there is no sample of is not taken for a corpus without text."""
    if sample.once is not None and not sample.texts:
        raise SourceError(
            f"{what} is made from a sample, and {shown(sample.once)} can be read but once: give the items of the "
            f"source stamps, or {instead}"
        )


def _fitted(tokenizer: Tokenizer, sample: Sample) -> Encoder:
    _require_some(sample, "the default encoder", 'pass an encoder, or "none"')
    total = sum(map(len, sample.texts)) if sample.total is None else sample.total
    size = fitting_bytes(total)
    return LexicalEncoder.fit(tokenizer, sample.thinned(size), sample_bytes=size)


def _checked_tokenizer(tree: Tree, given: Tokenizer | None) -> Tokenizer:
    if tree.tokenizer is None:
        raise UsageError(f"{tree.path} takes bare tokens, so text cannot be ingested into it")
    if given is not None and given.fingerprint != tree.tokenizer.fingerprint:
        raise UsageError(
            f"{tree.path} has another tokenizer ({tree.tokenizer.fingerprint[:12]}, not "
            f"{given.fingerprint[:12]}): name no tokenizer to go on with it, or ingest into a new store"
        )
    return tree.tokenizer


def _check_encoder(tree: Tree, wanted: EncoderChoice) -> None:
    if wanted is None:
        return
    with tree.snapshot() as snapshot:
        sets = snapshot.gist_sets()
        if wanted == "none":
            if sets:
                raise UsageError(
                    f"{tree.path} has gists ({sets[0].name!r}), which grow with it: name no encoder, or drop them"
                )
        elif isinstance(wanted, str):
            if not any(view.record.kind == wanted for view in sets):
                raise UsageError(
                    f"{tree.path} has no {wanted} gists: name no encoder here, and build them (`mctree gist build`)"
                )
        elif not any(view.record.fingerprint == wanted.fingerprint for view in sets):
            raise UsageError(
                f"{tree.path} has no gists of encoder {wanted.fingerprint[:12]}: "
                "name no encoder here, and build them (`Tree.build_gists`)"
            )
