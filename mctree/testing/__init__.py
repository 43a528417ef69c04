"""Test an encoder, a tokenizer or a source of your own on real stores: strategies, and a machine that tries everything.

    strategies   what to put into stores: `documents`, `edits`, `plans`, `trees`, `cuts` …
    machine      a real store and a model of it, driven through appends, commits, crashes, compactions …
    tailoring    the machine for something of your own
    checks       compare any snapshot with the model
    paper        a timeline in memory, with images grafted in, for working contexts to stand on
    procedural   an image of any size with known means
    focus_machine, focus_store     working contexts driven over such a timeline, and over a real store
    focus_checks     compare any working context with lists
    stores       scratch folders, and stores that are verified when a test ends

To run the machine on an encoder:

    from mctree.testing import tree_machine

    TestMyEncoder = tree_machine(encoder=MyEncoder()).TestCase

For a long time: `python -m mctree.testing --examples 5000 --steps 60`.
"""

from __future__ import annotations

from mctree.testing import strategies
from mctree.testing.checks import Expected, check_node, check_range, check_snapshot
from mctree.testing.edits import Edit, Scribe
from mctree.testing.focus_checks import Truth, check_context
from mctree.testing.focus_machine import FocusMachine
from mctree.testing.focus_store import FocusTreeMachine
from mctree.testing.machine import TreeMachine
from mctree.testing.model import Model, RefusedError, State
from mctree.testing.paper import PaperGround, PaperImage, PaperWorld
from mctree.testing.procedural import ProceduralSource
from mctree.testing.stores import Plan, Sample, Watch, apply, assert_whole, made, scratch, verified, watched
from mctree.testing.tailoring import tree_machine
from mctree.testing.toys import ToyEncoder

__all__ = [
    "Edit",
    "Expected",
    "FocusMachine",
    "FocusTreeMachine",
    "Model",
    "PaperGround",
    "PaperImage",
    "PaperWorld",
    "Plan",
    "ProceduralSource",
    "RefusedError",
    "Sample",
    "Scribe",
    "State",
    "ToyEncoder",
    "TreeMachine",
    "Truth",
    "Watch",
    "apply",
    "assert_whole",
    "check_context",
    "check_node",
    "check_range",
    "check_snapshot",
    "made",
    "scratch",
    "strategies",
    "tree_machine",
    "verified",
    "watched",
]
