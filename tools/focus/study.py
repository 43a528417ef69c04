"""What is measured: how often the right file, and the right block, is among what a way shows.

A corpus is stored as `mctree ingest` stores it, without its docstrings.  Questions that the settings of focus were
chosen by are not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import mctree
from mctree.ingest import ingest
from mctree.tree import Snapshot
from tools.focus.ways import BY_TERMS, FOCUS, Way, by_terms, by_words, variations, ways
from tools.retrieval.corpus import Document, Question, questions

__all__ = ["BUDGETS", "Line", "Study", "study"]

BUDGETS = (1024, 4096)

_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Line:
    """What one way came to, on average over the questions.

    Attributes:
        name: which way.
        file: the share of questions whose file has a block at LOD0.
        block: the share of those whose block is at LOD0.
        blocks: how many are.
        documents: of how many files.
        cost: of the working context, or tokens.
        compared: how many gists were compared, as a share of all.
        read: how many blocks were read, as a share of all gists.
    """

    name: str
    file: float
    block: float
    blocks: float
    documents: float
    cost: float
    compared: float
    read: float


@dataclass(frozen=True)
class Study:
    """All results on one corpus.

    Attributes:
        name: of the corpus.
        documents: files.
        megabytes: of text.
        blocks: at LOD1.
        nodes: gists of all levels.
        cover: entries of the smallest cover.
        questions: how many were asked.
        left_out: how many more were left out, since settings had been chosen by them.
        budget: of the working contexts.
        ways: the comparison.
        variations: of focus.
        budgets: BM25 and focus by budget.
        tuned: the same, by the questions that settings were chosen by.
    """

    name: str
    documents: int
    megabytes: float
    blocks: int
    nodes: dict[int, int]
    cover: int
    questions: int
    left_out: int
    budget: int
    ways: list[Line]
    variations: list[Line]
    budgets: dict[int, list[Line]]
    tuned: list[Line]


def study(name: str, corpus: list[Document], count: int, seed: int, tuned: int, budget: int) -> Study:
    """Measure everything on one corpus.

    Args:
        name: what to call it.
        corpus: its documents.
        count: how many questions to ask.
        seed: by which they are drawn.
        tuned: by which those were drawn that settings were chosen by.
        budget: of the working contexts.
    """
    known = questions(corpus, _NO_LIMIT, tuned)
    drawn = questions(corpus, _NO_LIMIT, seed)
    fresh = [question for question in drawn if question.text not in {other.text for other in known}]
    asked, seen = fresh[:count], known[:count]
    with TemporaryDirectory() as folder:
        records = Path(folder, "corpus.jsonl")
        with records.open("w", encoding="utf-8") as file:
            for document in corpus:
                file.write(json.dumps({"id": document.name, "text": document.text.decode()}) + "\n")
        ingest([records], Path(folder, "corpus.mctree"), id_field="id")
        with mctree.open(Path(folder, "corpus.mctree"), writable=False) as tree, tree.snapshot() as snapshot:
            gists = snapshot.gists()
            terms, words = by_terms(snapshot), by_words(snapshot)

            def measured(found: Iterable[tuple[str, Way]], some: list[Question]) -> list[Line]:
                answers = _answers(snapshot, corpus, some)
                return [_measured(snapshot, name, way, some, answers) for name, way in found]

            def both(size: int) -> list[tuple[str, Way]]:
                return [one for one in ways(snapshot, size, terms, words) if one[0] in (BY_TERMS, FOCUS)]

            return Study(
                name=name,
                documents=len(corpus),
                megabytes=sum(len(document.text) for document in corpus) / 1e6,
                blocks=snapshot.blocks,
                nodes={level: gists.rows(level) for level in range(1, gists.levels + 1)},
                cover=len(snapshot.cover()),
                questions=len(asked),
                left_out=len(drawn) - len(fresh),
                budget=budget,
                ways=measured(ways(snapshot, budget, terms, words), asked),
                variations=measured(variations(snapshot, budget), asked),
                budgets={size: measured(both(size), asked) for size in BUDGETS},
                tuned=measured(both(budget), seen),
            )


def _answers(snapshot: Snapshot, corpus: list[Document], asked: list[Question]) -> list[tuple[int, int]]:
    """Per question, the number of the right document and the right block."""
    numbers = {source.rpartition(b"#")[2].decode(): number for source, number, _ in snapshot.sources()}
    found = []
    for question in asked:
        text = corpus[question.document]
        document = snapshot.document(numbers[text.name])
        found.append((document.id, document.block_at(min(question.offset, len(text.text) - 1))))
    return found


def _measured(snapshot: Snapshot, name: str, way: Way, asked: list[Question], answers: list[tuple[int, int]]) -> Line:
    everything = sum(snapshot.gists().rows(level) for level in range(1, snapshot.gists().levels + 1))
    rows = []
    for question, (document, block) in zip(asked, answers, strict=True):
        shown = way(question.text)
        owners = snapshot.documents_of(shown.blocks)
        rows.append(
            (
                bool((owners == document).any()),
                bool((shown.blocks == block).any()),
                len(shown.blocks),
                len(np.unique(owners)),
                shown.cost,
                shown.compared / everything,
                shown.read / everything,
            )
        )
    print(f"{name}: {np.mean([row[0] for row in rows]):.3f}", flush=True)
    return Line(name, *np.array(rows, np.float64).mean(axis=0).tolist())
