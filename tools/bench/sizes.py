"""How much of everything does a run use?  One frozen record, in two forms.

The full form is large enough that no processor cache holds the data and that a gather meets hundreds of chunks; the
quick one is as small as the cases allow, and shows only that everything still runs and still gives right values.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tools.bench.errors import CallError

__all__ = ["FULL", "QUICK", "Sizes"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one run.

    Attributes:
        name: what the report calls this form.
        rows: gists stored.
        dim: length of a gist, float16.
        chunk_rows: gists in a chunk of the array stores.
        small_rows: gists in the smallest unit that a sharded or chunked store can read by itself.
        tokens: tokens stored, uint32; a multiple of `window`.
        chunk_tokens: tokens in a chunk of the array stores.
        small_tokens: tokens in the smallest unit that a sharded or chunked store can read by itself.
        gathered: gists in one random gather.
        runs: runs in one gather of runs.
        run_length: gists in a run, and the alignment of runs.
        windows: training windows in one batch.
        window: tokens in a training window.
        batch: training windows in one batch of a training loop.
        loop_tokens: tokens that a training loop is fed from.
        scan_rows: gists that a scan reads at a time.
        plans: different requests drawn per case; turns go round them.
        piece: tokens in a durable append.
        append_calls: the most appends that one contender makes.
        corpus_bytes: text that is ingested, enough for what is done once, as fitting the encoder, not to decide.
        vocabulary: ids of the tokenizer that is trained for ingest.
        grown: positions of the smaller and of the larger store in the case of growth.
        entries: entries of a working context.
        streamed: positions of the store that a working context is streamed from.
        steps: steps that are streamed.
        image: pixels on a side of the image that pyramids are made of and tiles read from; 128 times a power of two.
        large_image: pixels on a side of an image whose pixels are too many to be kept; a multiple of 512.
        sparse_chunks: chunks that exist of the sparse level.
        sparse_chunk_bytes: bytes of each, at least; a multiple of 64 KiB.
        slots: chunks of it that find room at a time; a multiple of 4.
        rounds: turns of each contender, at most.
        min_rounds: turns of each contender, at least.
        turn_s: seconds that a turn lasts, unless one call is longer.
        budget_s: seconds after which a race ends, once it has `min_rounds`.
        processes: fresh processes per contender where a case needs them.
    """

    name: str
    rows: int
    dim: int
    chunk_rows: int
    small_rows: int
    tokens: int
    chunk_tokens: int
    small_tokens: int
    gathered: int
    runs: int
    run_length: int
    windows: int
    window: int
    batch: int
    loop_tokens: int
    scan_rows: int
    plans: int
    piece: int
    append_calls: int
    corpus_bytes: int
    vocabulary: int
    grown: tuple[int, int]
    entries: int
    streamed: int
    steps: int
    image: int
    large_image: int
    sparse_chunks: int
    sparse_chunk_bytes: int
    slots: int
    rounds: int
    min_rounds: int
    turn_s: float
    budget_s: float
    processes: int

    def __post_init__(self) -> None:
        for whole, part in (
            ("rows", "chunk_rows"),
            ("chunk_rows", "small_rows"),
            ("rows", "scan_rows"),
            ("rows", "run_length"),
            ("tokens", "chunk_tokens"),
            ("chunk_tokens", "small_tokens"),
            ("tokens", "window"),
        ):
            if getattr(self, whole) % getattr(self, part):
                raise CallError(f"{whole} must be a multiple of {part}: {getattr(self, whole)}, {getattr(self, part)}")

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values, which `from_dict` takes back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Sizes:
        """The record that `as_dict` gave, also after a way through JSON."""
        small, large = values["grown"]
        return Sizes(**{**values, "grown": (int(small), int(large))})


FULL = Sizes(
    name="full",
    rows=1 << 21,
    dim=384,
    chunk_rows=4096,
    small_rows=64,
    tokens=3 << 26,
    chunk_tokens=1 << 20,
    small_tokens=1 << 14,
    gathered=1024,
    runs=256,
    run_length=32,
    windows=16,
    window=2048,
    batch=64,
    loop_tokens=1 << 25,
    scan_rows=8192,
    plans=256,
    piece=32,
    append_calls=2000,
    corpus_bytes=64_000_000,
    vocabulary=16_384,
    grown=(1_000_000, 1_000_000_000),
    entries=8192,
    streamed=1 << 27,
    steps=1000,
    image=4096,
    large_image=10_240,
    sparse_chunks=128,
    sparse_chunk_bytes=3 << 20,
    slots=32,
    rounds=21,
    min_rounds=3,
    turn_s=0.02,
    budget_s=8.0,
    processes=5,
)

QUICK = Sizes(
    name="quick",
    rows=1 << 14,
    dim=128,
    chunk_rows=256,
    small_rows=32,
    tokens=1 << 19,
    chunk_tokens=1 << 14,
    small_tokens=1 << 11,
    gathered=256,
    runs=16,
    run_length=32,
    windows=4,
    window=2048,
    batch=8,
    loop_tokens=1 << 18,
    scan_rows=1024,
    plans=4,
    piece=32,
    append_calls=40,
    corpus_bytes=400_000,
    vocabulary=1_024,
    grown=(20_000, 200_000),
    entries=400,
    streamed=200_000,
    steps=40,
    image=512,
    large_image=1024,
    sparse_chunks=64,
    sparse_chunk_bytes=1 << 16,
    slots=16,
    rounds=3,
    min_rounds=1,
    turn_s=0.002,
    budget_s=0.2,
    processes=1,
)
