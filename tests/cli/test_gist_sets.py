"""Building, choosing, refreshing and dropping gist sets, and searching by them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import mctree
from mctree.encoders import BytesTokenizer
from mctree.encoders.lexical import LexicalEncoder
from mctree.errors import UsageError
from mctree.sources.images import Box
from mctree.testing.toys import ToySight
from mctree.tree.search import search
from tests.cli.command_lines import bad, book, good, objects, run


@pytest.fixture(scope="module")
def built(store, tmp_path_factory):
    """A store with a gist set, and a needle in it."""
    path = shutil.copytree(store, tmp_path_factory.mktemp("gists") / "s.mctree")
    with mctree.open(path) as tree, tree.writer() as writer:
        writer.add("needle", book(7, 400) + " zanzibar quagga " * 4 + book(8, 400))
    good("gist", "build", path, "--dim", "64")
    return path


@pytest.fixture
def own(built, tmp_path):
    return shutil.copytree(built, tmp_path / "own.mctree")


def sets(store):
    return {each["name"]: each for each in objects(good("gist", "list", store, "--json"))}


def test_the_first_set_is_the_default_one(built):
    (only,) = sets(built).values()
    assert (only["name"], only["default"], only["dim"], only["stale"]) == ("default", True, 64, 0)
    assert only["nodes"][0] == objects(good("info", built, "--json"))[0]["blocks"]
    assert "lexical" in good("gist", "list", built)
    assert "default" in good("show", built, "2:0")


def test_a_set_goes_on_as_it_was_begun(own):
    before = sets(own)["default"]
    with mctree.open(own) as tree, tree.writer() as writer:
        for i in range(50):
            writer.add(f"more {i}", "words that the encoder was not fitted to")
            writer.commit(gists=False)
    after = good("gist", "build", own)
    assert "gist set default" in after
    again = sets(own)["default"]
    assert again["fingerprint"] == before["fingerprint"]
    assert again["nodes"][0] == before["nodes"][0] + 50 * 2
    assert "0 blocks" in good("gist", "build", own)


def test_building_and_refreshing_tell_scripts_what_they_made(own):
    (built,) = objects(good("gist", "build", own, "--name", "other", "--dim", "8", "--json"))
    other = sets(own)["other"]
    assert built == {
        "name": "other",
        "blocks": other["nodes"][0],
        "gists": sum(other["nodes"]),
        "default": False,
        "commit": objects(good("log", own, "--newest", "1", "--json"))[0]["commit"],
    }
    good("rm", own, "needle")
    stale = sets(own)["other"]["stale"]
    (refreshed,) = objects(good("gist", "refresh", own, "--name", "other", "--json"))
    assert (refreshed["name"], refreshed["gists"]) == ("other", stale)
    assert stale > 0 == sets(own)["other"]["stale"]
    assert refreshed["commit"] == objects(good("log", own, "--newest", "1", "--json"))[0]["commit"]


@pytest.mark.parametrize("dim", [7, 8193])
def test_the_range_of_dimensions_is_that_of_the_encoder(built, dim):
    """More are refused before a sample is read for nothing."""
    assert "8<=x<=8192" in bad("gist", "build", built, "--name", "wide", "--dim", str(dim), code=2)
    with pytest.raises(UsageError, match="8 … 8192 dimensions"):
        LexicalEncoder.fit(BytesTokenizer(), [], dim)


def test_a_set_does_not_become_another(built):
    assert "drop it" in bad("gist", "build", built, "--dim", "32", code=2)


def test_a_name_that_no_set_can_have_is_refused_before_anything_is_fitted(built):
    said = bad("gist", "build", built, "--name", "../x", code=2)
    assert "gist set name" in said and "fitting" not in said


def test_sets_stand_side_by_side_and_the_default_is_chosen(own):
    good("gist", "build", own, "--name", "small", "--dim", "8", "--dtype", "float32")
    assert not sets(own)["small"]["default"]
    good("gist", "default", own, "small")
    assert sets(own)["small"]["default"] and not sets(own)["default"]["default"]
    (said,) = objects(good("show", own, "1:0", "--json"))
    assert [each["set"] for each in said["gists"]] == ["default", "small"]
    (said,) = objects(good("show", own, "1:0", "--json", "--gist-set", "small"))
    assert [(each["set"], each["dim"], each["dtype"]) for each in said["gists"]] == [("small", 8, "float32")]
    assert "no default set is left" in good("gist", "drop", own, "small")
    assert list(sets(own)) == ["default"]
    assert "small" in bad("show", own, "1:0", "--gist-set", "small")
    assert "default" in bad("search", own, "x")
    good("gist", "build", own, "--name", "next", "--dim", "8", "--default")
    assert sets(own)["next"]["default"]


def test_what_was_removed_makes_gists_stale_until_they_are_refreshed(own):
    good("rm", own, "books/2.txt")
    stale = sets(own)["default"]["stale"]
    assert stale > 0
    assert "stale" in good("show", own)
    with mctree.open(own) as tree, tree.snapshot() as snapshot:
        view = snapshot.gists()
        nodes = np.arange(view.rows(2))
        index = nodes[view.stale(2, nodes) & snapshot.world.exists(2, nodes)][0]
    assert "stale" in good("show", own, f"2:{index}")
    assert "made again" in good("gist", "refresh", own)
    assert sets(own)["default"]["stale"] == 0
    assert "stale" not in good("show", own, f"2:{index}")
    assert "0 gists made again" in good("gist", "refresh", own, "--name", "default")


def test_a_search_finds_the_needle_and_says_where(built):
    found = objects(good("search", built, "zanzibar", "quagga", "--json", "--top", "2"))
    assert [each["source"] for each in found] == ["needle", "needle"]
    with mctree.open(built, writable=False) as tree, tree.snapshot() as snapshot:
        data = snapshot.document("needle").read()
        for each in found:
            assert each["text"].encode() == data[each["start"] : each["stop"]]
            assert snapshot.find("needle", each["start"]).address == snapshot.node(each["node"]).address
        wanted = search(snapshot, "zanzibar quagga", top=2).hits
        assert [(each["score"], each["node"]) for each in found] == [(h.score, str(h.node.address)) for h in wanted]


def test_a_search_for_people_says_the_same(built):
    result = run("search", built, "zanzibar quagga", "--top", "1")
    (found,) = objects(good("search", built, "zanzibar quagga", "--top", "1", "--json"))
    assert result.exit_code == 0
    for part in (f"{found['score']:.4f}", found["node"], "needle", f"{found['start']}..{found['stop']}", "zanzibar"):
        assert part in result.stdout
    assert "compared" in result.stderr


def test_a_flat_search_looks_at_every_block(built):
    result = run("search", built, "zanzibar", "--flat", "--top", "1")
    blocks = objects(good("info", built, "--json"))[0]["blocks"]
    assert f"{blocks} gists of {blocks} blocks" in result.stderr
    beam = run("search", built, "zanzibar", "--beam", "1", "--top", "1")
    assert int(beam.stderr.split()[0]) < blocks


def test_a_search_in_a_store_without_gists_says_how_to_make_them(store):
    assert "mctree gist" in bad("search", store, "x")


def test_a_search_at_an_older_commit(built):
    newest = objects(good("info", built, "--json"))[0]["commit"]
    bad("search", built, "x", "--commit", "1")
    assert objects(good("search", built, "zanzibar", "--json", "--commit", str(newest)))


def test_an_empty_store_has_nothing_to_find(tmp_path):
    mctree.create(tmp_path / "s").close()
    good("gist", "build", tmp_path / "s", "--dim", "8")
    result = run("search", tmp_path / "s", "x")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing found" in result.stderr


def test_what_a_changed_image_makes_stale_is_counted(tmp_path):
    """Somebody changed it who did not have the encoder of the set: 2 × 2 patches, their tile, and its block."""
    path, sight = tmp_path / "s.mctree", ToySight()
    with mctree.create(path, encoders=[sight]) as tree:
        tree.build_gists(sight, "both")
        with tree.writer() as writer:
            writer.add_image("picture", np.zeros((32, 32, 3), np.uint8))
    assert sets(path)["both"]["stale"] == 0
    with mctree.open(path) as tree, tree.writer() as writer:
        writer.change_image("picture", np.ones((1, 1, 3), np.uint8), Box(0, 0, 1, 1))
    assert sets(path)["both"]["stale"] == 4 + 1 + 1
