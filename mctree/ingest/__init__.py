"""Ingest: from inputs to a tree, and from a tree to one that is up to date with its inputs.

    report = ingest(["corpus/"], "corpus.mctree")
    print(report.added, "documents,", report.tokens, "tokens")

    sources ── Reader ──→ jobs ── tokenized ──→ tokens ── Scribe ──→ commits
               plan: what is to be done        images ──┘ one batch each

One thread reads and writes, in the order of the source; workers only tokenize, and make rows of pixels.  `plan`
decides, and does nothing else.  What joins images and their captions comes after the commit that both are in.
"""

from __future__ import annotations

from mctree.ingest.progress import Phase, Progress
from mctree.ingest.report import Report
from mctree.ingest.run import ingest

__all__ = ["Phase", "Progress", "Report", "ingest"]
