"""Test an encoder, a tokenizer or a source of your own on real stores: strategies, and a machine that tries everything.

    strategies   what to put into stores: `documents`, `edits`, `plans`, `trees`, `cuts` …
    machine      a real store and a model of it, driven through appends, commits, crashes, compactions …
    tailoring    the machine for something of your own
    checks       compare any snapshot with the model
    paper        a timeline in memory, with images grafted in, for working contexts to stand on
    procedural, image_checks     an image of any size with known means, and checks of image sources
    focus_machine, focus_store     working contexts driven over such a timeline, and over a real store
    paper_rows       rows of such a timeline, to be streamed, and a device that takes its time
    stream_machine   a working context on a device: whatever is late, fails or does not fit, what is seen is right
    focus_checks     compare any working context with lists
    stores       scratch folders, and stores that are verified when a test ends

To run the machine on an encoder:

    from mctree.testing import tree_machine

    TestMyEncoder = tree_machine(encoder=MyEncoder()).TestCase

For a long time: `python -m mctree.testing --examples 5000 --steps 60`.

Names are loaded when they are first used, so that a process that needs a toy encoder does not wait for Hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mctree.testing import strategies
    from mctree.testing.checks import Expected, check_node, check_range, check_snapshot
    from mctree.testing.edits import Edit, Scribe
    from mctree.testing.focus_checks import Truth, check_context
    from mctree.testing.focus_machine import FocusMachine
    from mctree.testing.focus_store import FocusTreeMachine
    from mctree.testing.image_checks import check_image
    from mctree.testing.machine import TreeMachine
    from mctree.testing.model import Model, RefusedError, State
    from mctree.testing.paper import PaperGround, PaperImage, PaperWorld
    from mctree.testing.paper_rows import LazyDevice, PaperRows
    from mctree.testing.procedural import ProceduralSource
    from mctree.testing.stores import Plan, Sample, Watch, apply, assert_whole, made, scratch, verified, watched
    from mctree.testing.stream_machine import StreamMachine
    from mctree.testing.tailoring import tree_machine
    from mctree.testing.toys import ToyEncoder

__all__ = [
    "Edit",
    "Expected",
    "FocusMachine",
    "FocusTreeMachine",
    "LazyDevice",
    "Model",
    "PaperGround",
    "PaperImage",
    "PaperRows",
    "PaperWorld",
    "Plan",
    "ProceduralSource",
    "RefusedError",
    "Sample",
    "Scribe",
    "State",
    "StreamMachine",
    "ToyEncoder",
    "TreeMachine",
    "Truth",
    "Watch",
    "apply",
    "assert_whole",
    "check_context",
    "check_image",
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

_HOMES = {
    "checks": ("Expected", "check_node", "check_range", "check_snapshot"),
    "edits": ("Edit", "Scribe"),
    "focus_checks": ("Truth", "check_context"),
    "focus_machine": ("FocusMachine",),
    "focus_store": ("FocusTreeMachine",),
    "image_checks": ("check_image",),
    "machine": ("TreeMachine",),
    "model": ("Model", "RefusedError", "State"),
    "paper": ("PaperGround", "PaperImage", "PaperWorld"),
    "paper_rows": ("LazyDevice", "PaperRows"),
    "procedural": ("ProceduralSource",),
    "stores": ("Plan", "Sample", "Watch", "apply", "assert_whole", "made", "scratch", "verified", "watched"),
    "stream_machine": ("StreamMachine",),
    "tailoring": ("tree_machine",),
    "toys": ("ToyEncoder",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    if name == "strategies":
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
