"""The endurance run in its short form: a commit that a reader holds while the store changes under it."""

from __future__ import annotations

from pathlib import Path

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
