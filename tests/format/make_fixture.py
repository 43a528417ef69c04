"""Write the store of the story to tests/fixtures, for later versions to open, and what it holds beside it.

    python -m tests.format.make_fixture FORMAT

It is done once for each version of the format.  Clocks and random numbers are held still, so that doing it again
with the same version of mctree makes the same records.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import mctree
from tests.format.description import told
from tests.format.examples import PAGE, rendered, with_examples
from tests.format.story import ENCODERS, tell

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ADVISORY = ("lock", "leases", "telemetry", "epochs", "index.lmdb/lock.mdb")
"""What of a store is of no use to anybody else: who held it, and where."""


def main(version: str) -> None:
    store, beside = FIXTURES / f"v{version}.mctree", FIXTURES / f"v{version}.json"
    FIXTURES.mkdir(exist_ok=True)
    shutil.rmtree(store, ignore_errors=True)
    seconds = itertools.count(1_700_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / store.name
        with (
            mock.patch("time.time_ns", lambda: next(seconds) * 10**9),
            mock.patch("secrets.token_bytes", lambda n: bytes(range(0xA0, 0xA0 + n))),
        ):
            contents = tell(path)
        with mctree.open(path, writable=False, encoders=ENCODERS) as tree:
            commits = {}
            for commit in tree.commits():
                with tree.snapshot(commit.number) as snapshot:
                    read = {document.source: document.read() for document in snapshot.documents()}
                    if read != contents[commit.number]:
                        raise SystemExit(f"commit {commit.number} does not hold what was put in: no fixture is written")
                    commits[str(commit.number)] = told(snapshot)
            if problems := list(tree.verify()):
                raise SystemExit(f"the store does not verify, so no fixture is written: {problems[0]}")
        shutil.copytree(path, store)
    for name in ADVISORY:
        gone = store / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
    lines = [f"{json.dumps(number)}: {json.dumps(commit)}" for number, commit in commits.items()]
    beside.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    PAGE.write_text(with_examples(PAGE.read_text(), rendered()))
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    print(f"{store.name}: {len(commits)} commits, {size:,} bytes; {beside.name}: {beside.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
