"""Learn gists and a lens on the recall task, measure them beside all else, and write the page about it.

    python -m tools.train --out docs/recall.md --json results.json
    python -m tools.train --blocks 4 --facts 4 --out docs/recall-dense.md
    python -m tools.train --smoke

Seeds that were used while this was designed are refused, so that nothing that is reported was chosen by them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from tools.train.learning import Sizes
from tools.train.recall import Recall
from tools.train.report import page
from tools.train.study import Line, study

_SEEDS = (301, 302, 303)
_DESIGNED_WITH = (0, 1)


def main(arguments: list[str] | None = None) -> None:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tools.train", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(_SEEDS))
    parser.add_argument("--blocks", type=int, default=Recall.blocks, help="of a history")
    parser.add_argument(
        "--facts", type=int, default=Recall.facts, help="of a block; the more, the less a gist can hold"
    )
    parser.add_argument("--smoke", action="store_true", help="so small that nothing is learned, and everything is run")
    parser.add_argument("--out", type=Path, help="where to write the page; by default it is printed")
    parser.add_argument(
        "--json", type=Path, help="where to keep what was measured; seeds that are there are not run again"
    )
    options = parser.parse_args(arguments)
    if not options.smoke and set(options.seeds) & set(_DESIGNED_WITH):
        parser.error(f"seeds {_DESIGNED_WITH} were used while this was designed: take others")
    task = Recall(blocks=options.blocks, facts=options.facts)
    sizes = Sizes.smoke() if options.smoke else Sizes()
    if task.blocks * task.facts > task.keys:
        parser.error(f"{task.blocks} blocks of {task.facts} facts need more than {task.keys} keys")
    torch.set_num_threads(1)
    known = json.loads(options.json.read_text()) if options.json is not None and options.json.exists() else {}
    for seed in options.seeds:
        if str(seed) not in known:
            begun = time.process_time()
            known[str(seed)] = {way: asdict(line) for way, line in study(task, sizes, seed).items()}
            print(f"seed {seed}: {time.process_time() - begun:.0f} s of one core", file=sys.stderr)
            if options.json is not None:
                options.json.write_text(json.dumps(known, indent=1))
    studies = {seed: {way: Line(**line) for way, line in known[str(seed)].items()} for seed in options.seeds}
    said = "" if task == Recall() else f" --blocks {task.blocks} --facts {task.facts}"
    text = page(task, sizes, studies, f"python -m tools.train{said}")
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
