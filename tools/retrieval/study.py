"""What is measured on one corpus, and with which encoders?

Encoders are fitted as ingest fits them, on a small sample of the corpus; the one named "fitted elsewhere"
on documents that no question is asked of, so that neither its rarities nor its vectors have seen what they are asked
to find.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mctree.encoders import HFTokenizer, LexicalEncoder, Tokenizer, train_bpe
from mctree.encoders.terms import signs
from mctree.ingest.preparing import fitting_bytes
from tools.retrieval.corpus import Document, Question
from tools.retrieval.measures import Descent, descend, ranks, widest_beams
from tools.retrieval.scoring import Scores, bm25_scores, gist_scores, levels_of
from tools.retrieval.timeline import Timeline, lay_out

__all__ = ["BM25", "DEFAULT", "INHERITED", "RECALLS", "SHARES", "Contender", "Study", "study"]

RECALLS = (1, 8, 24, 64, 128, 256)
SHARES = (0.01, 0.02, 0.05)
INHERITED = (0.0, 0.3)
BM25 = "BM25"
DEFAULT = "lexical, 512 (default)"
_TRAINING_BYTES = 16_000_000
_VOCABULARY = 32768


@dataclass(frozen=True)
class Contender:
    """What one way of scoring found.

    Attributes:
        name: which one.
        file: level → for each of `RECALLS`, the share of questions with an ancestor of the right file among them.
        block: the same for the ancestor of the right block.
        descents: (level it starts at, share of gists allowed, share of the parent's score) → what was found; the
            comparison of all blocks is (1, 1, 0).
        seconds: time taken by encoding and scoring all levels.
    """

    name: str
    file: dict[int, list[float]]
    block: dict[int, list[float]]
    descents: dict[tuple[int, float, float], Descent]
    seconds: float


@dataclass(frozen=True)
class Study:
    """All results on one corpus."""

    name: str
    documents: int
    megabytes: float
    questions: int
    nodes: dict[int, int]
    bytes_per_block: float
    sample_megabytes: float
    elsewhere_megabytes: float
    contenders: list[Contender]


def study(name: str, corpus: list[Document], asked: list[Question], dims: list[int], threads: int) -> Study:
    """Measure everything on one corpus."""
    tokenizer = train_bpe(_sample(corpus, _TRAINING_BYTES), _VOCABULARY)
    fitting = fitting_bytes(sum(len(document.text) for document in corpus))
    timeline, answers = lay_out(corpus, asked, tokenizer, threads)
    with_question = {question.document for question in asked}
    elsewhere = [document for number, document in enumerate(corpus) if number not in with_question]
    contenders = []
    samples = list(_sample(corpus, fitting)), list(_sample(elsewhere, fitting))
    for label, make in _contenders(timeline, tokenizer, samples, [question.text for question in asked], dims):
        began = time.perf_counter()
        scores = make()
        seconds = time.perf_counter() - began
        found = {level: ranks(scores[level], answers.at(level)) for level in scores}
        descents = {(1, 1.0, 0.0): descend(scores, answers, {})}
        for level in range(2, levels_of(timeline) + 1):
            for share in SHARES:
                if beams := widest_beams(scores, level, share):
                    for inherited in INHERITED:
                        descents[level, share, inherited] = descend(scores, answers, beams, inherited)
        file, block = (
            {level: [float((both[i] < k).mean()) for k in RECALLS] for level, both in found.items()} for i in (0, 1)
        )
        contenders.append(Contender(label, file, block, descents, seconds))
        print(f"{name}: {label}: {descents[1, 1.0, 0.0].file:.3f} flat, {seconds:.0f} s", flush=True)
    return Study(
        name=name,
        documents=len(corpus),
        megabytes=timeline.text_bytes / 1e6,
        questions=len(asked),
        nodes={level: timeline.nodes(level) for level in range(1, levels_of(timeline) + 1)},
        bytes_per_block=timeline.text_bytes / timeline.blocks,
        sample_megabytes=sum(map(len, samples[0])) / 1e6,
        elsewhere_megabytes=sum(map(len, samples[1])) / 1e6,
        contenders=contenders,
    )


def _contenders(
    timeline: Timeline,
    tokenizer: HFTokenizer,
    samples: tuple[list[bytes], list[bytes]],
    texts: list[str],
    dims: Iterable[int],
) -> Iterator[tuple[str, Callable[[], Scores]]]:
    """Every way of scoring that is compared, by name."""

    def fitted(sample: list[bytes], dim: int) -> LexicalEncoder:
        return LexicalEncoder.fit(tokenizer, sample, dim)

    def scored(encoder: LexicalEncoder, pooled: bool = False) -> Callable[[], Scores]:
        return lambda: gist_scores(timeline, encoder, texts, pooled)

    default = LexicalEncoder.fit(tokenizer, samples[0])
    dim = default.dim
    yield BM25, lambda: bm25_scores(timeline, default.table, tokenizer, texts)
    yield f"random signs, {dim}, children added up", scored(default, pooled=True)
    yield f"random signs, {dim}, of the span's terms", scored(_unfitted(default, tokenizer))
    yield DEFAULT, scored(default)
    yield f"lexical, {dim}, fitted elsewhere", scored(fitted(samples[1], dim))
    for other in dims:
        yield f"lexical, {other}", scored(fitted(samples[0], other))


def _unfitted(fitted: LexicalEncoder, tokenizer: Tokenizer) -> LexicalEncoder:
    """The same encoder with random signs in the place of the vectors that were fitted to the sample."""
    steps = np.full(fitted.table.terms, 1 / np.sqrt(fitted.dim), np.float32)
    return LexicalEncoder(tokenizer, fitted.table, fitted.rarity, steps, signs(fitted.table.hashes, fitted.dim))


def _sample(corpus: list[Document], size: int) -> Iterator[bytes]:
    """Documents drawn by chance, of so many bytes together."""
    left = size
    for document in random.Random(1).sample(corpus, len(corpus)):
        if left <= 0:
            return
        yield document.text[:left]
        left -= len(document.text)
