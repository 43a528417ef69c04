"""Long runs in their short forms: a commit that is held while the store changes, and many small images."""

from __future__ import annotations

from pathlib import Path

from tools.endurance import icons
from tools.endurance.held_commit import run


def test_a_held_commit_stays_and_costs_what_changed(tmp_path: Path) -> None:
    changes = 300
    found = run(tmp_path, changes, quiet=True)
    assert found.problems == 0
    assert found.reader_checks >= 1
    assert found.spawned_checks >= 1
    assert found.index_per_change < 2048
    # A change adds one to four blocks; what is written anew with it is shared by all changes of a refresh.
    assert found.disk_after - found.disk_before < changes * 16384
    assert found.generations_after <= 4
    assert found.generations_after <= found.generations_while_held
    assert found.commits_after < 40


def test_many_small_images_come_back_and_cost_little(tmp_path: Path) -> None:
    few = icons.run(tmp_path, 300, quiet=True)
    assert few.wrong == few.problems == 0
    assert few.files < 60
    assert few.disk_per_icon < 8192
