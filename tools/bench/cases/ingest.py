"""At what rate does text become stored tokens, on two cores, with one fixed tokenizer?

The corpus is what any machine with Python has: the source files of its standard library and installed packages.  The
tokenizer is a byte-level BPE trained once on the same files; training is not timed.  Each contender runs in processes
of its own, pinned to two cores, in turns.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

from tools.bench.bench import Bench, missing, reason
from tools.bench.child import ask
from tools.bench.errors import WrongValuesError
from tools.bench.peers import Ingester
from tools.bench.peers.protocol import library
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, ratios

__all__ = ["LIMIT", "NAME", "run"]

NAME = "ingest"
LIMIT = "tokenizer alone"
_FILE_BYTES = 1 << 20
_SAMPLE = 200
_TOLERANCE = 0.01


def run(bench: Bench, ingesters: tuple[Ingester, ...]) -> Table:
    """Ingest the corpus with every contender, in turns."""
    root = bench.folder("ingest")
    corpus = root / "corpus"
    corpus.mkdir()
    size = _corpus(corpus, bench.sizes.corpus_bytes)
    lines: dict[str, Line] = {}
    entrants = [one for one in ingesters if bench.wants(one.about, (LIMIT,))]
    for one in entrants:
        if why := one.about.absent:
            lines[one.about.name] = missing(one.about, why)
    answers: dict[str, list[dict[str, float]]] = {one.about.name: [] for one in entrants}
    if LIMIT not in lines:
        tokenizer = root / "tokenizer.json"
        _train(corpus, tokenizer, bench.sizes.vocabulary)
        for turn in range(bench.sizes.processes):
            for one in entrants:
                name = one.about.name
                if name in lines:
                    continue
                bench.say(f"ingest: {name}, {turn + 1} of {bench.sizes.processes}")
                try:
                    answers[name].append(_once(bench, name, corpus, tokenizer, root / "store"))
                    _compare(answers[name][-1], answers[LIMIT][-1])
                except Exception as error:
                    lines[name] = Line(name, one.about.kind, "failed", note=reason(error, bench.scratch))
                    answers[name].clear()
    rates: list[Round] = [
        {name: size / 1e6 / found[turn]["seconds"] for name, found in answers.items() if turn < len(found)}
        for turn in range(bench.sizes.processes)
    ]
    for one in entrants:
        name = one.about.name
        if answers[name] and answers[LIMIT]:
            value = Spread.of([rate[name] for rate in rates if name in rate])
            peak = Spread.of([answer["peak"] for answer in answers[name]]).median
            ratio = Spread.of(ratios(rates, name, LIMIT))
            lines[name] = Line(name, one.about.kind, "measured", value, ratio, (peak,), one.about.note)
    shutil.rmtree(root)
    return Table(
        name=NAME,
        title="Ingest",
        what=(
            f"{size / 1e6:,.1f} MB of Python source, a byte-level BPE of {bench.sizes.vocabulary:,} ids, two cores; "
            "rates are of source text."
        ),
        unit="MB/s",
        limit=LIMIT,
        lines=tuple(lines[one.about.name] for one in entrants if one.about.name in lines),
        extra_heads=("peak resident memory, MiB",),
        more_is_better=True,
    )


def _once(bench: Bench, name: str, corpus: Path, tokenizer: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    try:
        return ask(
            {
                "task": "ingest",
                "ingester": name,
                "sizes": bench.sizes.as_dict(),
                "corpus": str(corpus),
                "tokenizer": str(tokenizer),
                "folder": str(folder),
            }
        )
    finally:
        shutil.rmtree(folder)


def _compare(found: dict[str, float], limit: dict[str, float]) -> None:
    """Counts may differ a little: where a contender cuts long files, tokens end at the cuts."""
    if abs(found["tokens"] - limit["tokens"]) > _TOLERANCE * limit["tokens"]:
        raise WrongValuesError(
            f"{found['tokens']:,.0f} tokens were stored, where the tokenizer makes {limit['tokens']:,.0f}"
        )


def _corpus(folder: Path, wanted: int) -> int:
    """Copy Python files until there are enough; returns their bytes, which may be fewer than wanted."""
    paths = sysconfig.get_paths()
    size = number = 0
    for root in dict.fromkeys((paths["stdlib"], paths["purelib"])):
        for path in sorted(Path(root).rglob("*.py")):
            if size >= wanted:
                return size
            held = path.read_bytes() if path.is_file() else b""
            if not 0 < len(held) <= _FILE_BYTES:
                continue
            (folder / f"{number:06d}.py").write_bytes(held)
            size += len(held)
            number += 1
    return size


def _train(corpus: Path, tokenizer: Path, vocabulary: int) -> None:
    """A byte-level BPE, from a sample of the files."""
    tokenizers = library("tokenizers")
    files = sorted(corpus.iterdir())
    sample = files[:: max(1, len(files) // _SAMPLE)]
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (path.read_bytes().decode("utf-8", "replace") for path in sample)
    engine.train_from_iterator(texts, trainer)
    engine.save(str(tokenizer))
