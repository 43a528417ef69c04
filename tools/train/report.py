"""How are the results told?  The page `docs/recall.md`: every way, over all seeds, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scipy import stats

from tools.train.learning import Sizes
from tools.train.recall import Recall
from tools.train.study import FULL, FULL_OF, LEARNED, LENS, MEAN, ORACLE, RECENCY, TRUNCATED, Line

__all__ = ["interval", "page"]

_CONFIDENCE = 0.95

_INTRODUCTION = """\
# Do gists stand in for text, and does a lens find what is asked for?

Written by `{command}`; do not edit.

The smallest task that has an answer: a history of {blocks} blocks of 32 tokens, in each block {facts} facts among
fillers. A fact is a token for a key and a value, one of {keys} × {values}; a question is the token of a key. So one
block answers a question, and who does not look at it guesses: {guessing:.2f} nats, {chance:.1%} right.

- **The base model** is a Llama of {layers} layers and width {width}, which first learns to answer with everything at
  LOD0. Then a copy of it is tuned, for {gist_steps} steps of {batch} histories, together with a **GistNet**, on
  histories whose blocks are shown as gists or at LOD0. Another copy is tuned as long on gists that are means of
  embeddings: that is **means**. The GistNet alone has {rare_steps} steps before, without a model, in which
  gists learn to point to rare tokens; means have nothing to learn there, and a model that is shown them may need longer
  than it is given.
- **The LensNet** learns, for each block, by how much the answer costs less if that block alone is shown at LOD0. It
  then chooses one block of each history by its gists and the question. **Through a store**, the history is a document
  of a store, the gists are a gist set, and the answer comes from a `Speaker` whose allocator follows the LensNet within
  the budget: there, blocks are expanded only if it wants that, and none need be.
- **ΔNLL** is what the answer costs more than if the same model saw everything at LOD0. **Rows** are what it reads of a
  history.
- **{seeds} seeds**, each of which draws weights and everything that is learned from; {histories} histories per seed are
  measured, which nothing learned from ({through_store} through stores). Intervals are those of Student's t over seeds,
  at 95 %.
- **Before this**, a LensNet that had learned from a quarter as many histories was measured with other seeds: its block
  beside the newest was worth 0.075 ± 0.086 nats with 8 blocks of 2 facts (seeds 101 to 103), and 0.182 ± 0.183 with 4
  blocks of 4 (201 to 203). How long it learns was then chosen with seed 0, which is not measured.
"""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of a few measurements, and half the width of its interval by Student's t."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, math.inf
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return mean, float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)


def page(
    task: Recall, sizes: Sizes, studies: dict[int, dict[str, Line]], command: str = "python -m tools.train"
) -> str:
    """The page; `command` is what it is written by."""
    runs = list(studies.values())
    words = {
        **{name: getattr(task, name) for name in ("blocks", "facts", "keys", "values", "guessing")},
        **{
            name: getattr(sizes, name) for name in ("layers", "width", "rare_steps", "gist_steps", "batch", "histories")
        },
        "through_store": min(sizes.through_store, sizes.histories),
        "chance": 1 / task.values,
        "seeds": len(runs),
        "command": command,
    }
    parts = [_INTRODUCTION.format(**words), "## In short\n", *_in_short(runs), "\n## All ways\n", _table(runs)]
    parts.append(f"\nSeeds: {', '.join(map(str, studies))}.")
    return "\n".join(parts) + "\n"


def _in_short(runs: list[dict[str, Line]]) -> Iterable[str]:
    pairs = (
        ("Learned gists beside means, gists alone", MEAN, LEARNED),
        ("The LensNet's block beside the newest", RECENCY, LENS),
        ("The LensNet's block beside truncation", TRUNCATED, LENS),
        ("The LensNet's block beside the oracle's", LENS, ORACLE),
    )
    for what, worse, better in pairs:
        mean, half = interval([_delta(run, worse) - _delta(run, better) for run in runs])
        points, half_points = interval([run[better].right - run[worse].right for run in runs])
        verdict = "more than" if mean > half else "not more than"
        yield (
            f"- {what}: {mean:.3f} ± {half:.3f} nats less, {points:+.1%} ± {half_points:.1%} right; "
            f"{verdict} the interval."
        )


def _delta(run: dict[str, Line], way: str) -> float:
    """What the answer costs more than with everything at LOD0."""
    return run[way].loss - run[FULL_OF.get(way, FULL)].loss


def _table(runs: list[dict[str, Line]]) -> str:
    rows = ["|  | rows | loss | ΔNLL | right | right block at LOD0 |", "| --- | --- | --- | --- | --- | --- |"]
    for way in runs[0]:
        rows_read = sum(run[way].cost for run in runs) / len(runs)
        cells = [
            _shown([run[way].loss for run in runs], "{:.3f}"),
            _shown([_delta(run, way) for run in runs], "{:.3f}"),
            _shown([run[way].right for run in runs], "{:.1%}"),
            _shown([run[way].found for run in runs], "{:.1%}"),
        ]
        rows.append(f"| {way} | {rows_read:.0f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _shown(values: list[float], form: str) -> str:
    mean, half = interval(values)
    return form.format(mean) + (f" ± {form.format(half)}" if math.isfinite(half) else "")
