"""Which part of it does a model see?  Working contexts: the right detail within a budget, over a tree of any size.

    context     the working context: a cut with a budget; made, stepped, edited by hand, moved to a newer snapshot
    entries     its rows, as flat arrays
    ground      what it stands on: what exists at a commit, of the timeline and of images grafted into it
    timeline    the ground that a snapshot of a store is
    covers      with which entries it begins
    siblings    which entries can be collapsed
    allocator   which are expanded and which collapsed, given scores
    history     how they came to be what they are
    draft       how it changes as a whole or not at all
    arrivals    what is different on a newer ground
    diff        what has entered and left
    checking    its invariants
    tally       how it behaves over time
    lens        what gives scores, and what it is shown
    lenses      those that need no training
    regions     and one for a part of an image
    seeking     which blocks answer a question, found from the top down
    driving     from a question to a working context
    rows        columns that are edited as one
    runs        stretches of rows, and what their values come to

The allocator and what it works on are functions of arrays: they read no store, no file and no clock.
"""

from __future__ import annotations

from mctree.focus.allocator import Allocator, Blocked, Plan
from mctree.focus.checking import Breach
from mctree.focus.context import Change, Resident, WorkingContext
from mctree.focus.diff import Diff
from mctree.focus.driving import converge, focus
from mctree.focus.entries import IMAGE_MODALITY, SEVERAL, TEXT_MODALITY, Entries, Facts, Nodes
from mctree.focus.ground import Grafts, Ground, Tails
from mctree.focus.history import History
from mctree.focus.lens import FEATURES, Lens, Look
from mctree.focus.lenses import BlocksLens, RecencyLens, SimilarityLens, SpansLens
from mctree.focus.regions import RegionLens
from mctree.focus.seeking import Sought, afford, seek
from mctree.focus.tally import Tally
from mctree.focus.timeline import SnapshotGround

__all__ = [
    "FEATURES",
    "IMAGE_MODALITY",
    "SEVERAL",
    "TEXT_MODALITY",
    "Allocator",
    "Blocked",
    "BlocksLens",
    "Breach",
    "Change",
    "Diff",
    "Entries",
    "Facts",
    "Grafts",
    "Ground",
    "History",
    "Lens",
    "Look",
    "Nodes",
    "Plan",
    "RecencyLens",
    "RegionLens",
    "Resident",
    "SimilarityLens",
    "SnapshotGround",
    "Sought",
    "SpansLens",
    "Tails",
    "Tally",
    "WorkingContext",
    "afford",
    "converge",
    "focus",
    "seek",
]
