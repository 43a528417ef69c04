"""What the package promises about itself: its public names, what importing it loads, what its parts may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mctree
import mctree.testing
import mctree_torch

ROOT = Path(__file__).resolve().parents[1]


def test_the_public_names_are_these() -> None:
    assert sorted(mctree.__all__) == [
        "Document", "MctreeError", "Node", "Snapshot", "Tree", "Writer", "create", "open",
    ]  # fmt: skip
    assert sorted(mctree_torch.__all__) == [
        "Gathered", "GlobalBatches", "Loader", "MixedDetailDataset", "ResidentContext", "TokenDataset", "TorchDevice",
        "as_tensor", "collate", "gather", "resume_point",
    ]  # fmt: skip
    for package in (mctree, mctree.testing):
        assert all(hasattr(package, name) for name in package.__all__)
        assert set(package.__all__) <= set(dir(package))


def test_importing_the_engine_loads_nothing_heavy() -> None:
    heavy = ["torch", "hypothesis", "pytest", "zarr", "rich", "click", "pyarrow", "tokenizers", "tensorstore"]
    for light in ("mctree", "mctree.testing.toys, mctree.testing.stores"):
        code = f"import sys, {light}; print([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_every_module_says_what_question_it_answers() -> None:
    for path in [*(ROOT / "mctree").rglob("*.py"), *(ROOT / "mctree_torch").rglob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"


def test_no_module_is_longer_than_a_person_reads() -> None:
    longest = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for package in ("mctree", "mctree_torch", "tools")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: lines for name, lines in longest.items() if lines > 600} == {}
