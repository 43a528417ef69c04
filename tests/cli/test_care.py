"""verify and compact: finding what is wrong, and giving disk space back."""

from __future__ import annotations

import os
import shutil

import lmdb
import pytest

import mctree
from mctree.encoders import train_bpe
from mctree.errors import CorruptError
from mctree.format.keys import Table
from tests.cli.command_lines import assert_printable, book, good, objects, run


@pytest.fixture
def own(store, tmp_path):
    return shutil.copytree(store, tmp_path / "own.mctree")


def flip(store, position):
    """Flip a bit of the token at a position; tokens of these stores are bytes."""
    for chunk in sorted((store / "text" / "lod0").glob("c.*"), key=lambda path: int(path.suffix[1:])):
        if position < chunk.stat().st_size:
            with chunk.open("r+b") as file:
                file.seek(position)
                (value,) = file.read(1)
                file.seek(position)
                file.write(bytes([value ^ 1]))
            return
        position -= chunk.stat().st_size
    raise AssertionError("no chunk holds the position")


def test_a_sound_store_is_well(own):
    assert "all is well" in good("verify", own)
    assert good("verify", own, "--json") == ""


def test_a_flipped_bit_is_found_with_node_document_and_bytes(own):
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        node = snapshot.find("books/2.txt", 1000)
        (where,) = node.provenance()
    flip(own, node.span[0] + 3)
    result = run("verify", own)
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if str(node.address) in line)
    assert "books/2.txt" in line
    assert f"{where.start}..{where.stop}" in line
    assert "problem" in result.stdout.splitlines()[-1]
    assert result.stderr == ""

    result = run("verify", own, "--json")
    assert result.exit_code == 1
    hit = next(each for each in objects(result.stdout) if each["node"] == str(node.address))
    assert (hit["source"], hit["start"], hit["stop"]) == ("books/2.txt", where.start, where.stop)
    assert hit["kind"] and hit["what"] and hit["where"]


def test_a_problem_in_a_hostile_document_is_printable(own):
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        for document in snapshot.documents():
            if document.source.startswith(b"\x1b"):
                flip(own, document.runs[0].block * 32)
    result = run("verify", own)
    assert result.exit_code == 1
    assert_printable(result.stdout)
    assert "\\x1b[2J" in result.stdout


def test_cat_never_passes_wrong_bytes_for_right_ones(own):
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        position = snapshot.find("books/2.txt", 1000).span[0]
    flip(own, position)
    result = run("cat", own, "books/2.txt")
    assert result.exit_code == 1
    assert "verify" in result.stderr
    assert good("cat", own, "books/0.txt") == book(0)


@pytest.mark.parametrize("asked", ["show", "show --json", "search", "search --json", "focus"])
def test_no_text_is_shown_that_is_not_what_was_committed(own, asked):
    """Found by reading: damaged tokens were printed, by commands that ended well."""
    good("gist", "build", own, "--dim", "64")
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        node = snapshot.find("books/2.txt", 1000)
        words = node.text().strip()
    flip(own, node.span[0] + 3)
    command, *options = asked.split()
    what = {
        "show": [f"{node.address}"],
        "search": [words, "--flat", "--top", "10000"],
        "focus": [words, "--budget", "100000"],
    }[command]
    result = run(command, own, *what, *options)
    assert result.exit_code == 1
    assert "its tokens are not those that were committed" in result.stderr and str(node.address) in result.stderr
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        with pytest.raises(CorruptError, match="not those that were committed"):
            snapshot.node(node.address).text()
        assert snapshot.find("books/0.txt", 1000).text()


def test_the_text_of_a_node_does_not_depend_on_the_level_of_counts(own):
    """Found by reading: where a count was damaged, text was left out, or padding shown, by commands that ended well."""
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        node = snapshot.find("books/2.txt", 1000)
        text = node.text()
    with (own / "text/count/c.0").open("r+b") as file:
        file.seek(node.index)
        file.write(b"\x03")
    with mctree.open(own, writable=False) as tree, tree.snapshot() as snapshot:
        assert snapshot.node(node.address).text() == text
    assert objects(good("show", own, str(node.address), "--json"))[0]["text"] == text
    assert run("verify", own).exit_code == 1


def test_a_missing_chunk_is_a_problem_and_not_an_end(own):
    os.unlink(own / "text" / "lod0" / "c.0")
    result = run("verify", own)
    assert result.exit_code == 1
    assert "problem" in result.stdout


@pytest.mark.parametrize("left", [0, 8192])
def test_a_store_that_damage_keeps_from_opening_is_a_problem_in_json_too(own, left):
    """Found by use: a script that reads lines saw none, which was said to mean that all is well."""
    os.truncate(own / "index.lmdb" / "data.mdb", left)
    result = run("verify", own, "--json")
    assert result.exit_code == 1
    (problem,) = objects(result.stdout)
    assert (problem["kind"], problem["node"]) == ("store", None)
    assert "cut off" in problem["what"] and "cut off" in result.stderr


@pytest.fixture(params=["damaged", "gone", "not recorded"])
def without_tokenizer(tmp_path, request):
    """A store whose tokenizer cannot be made."""
    with mctree.create(tmp_path / "s", tokenizer=train_bpe([book(1).encode()], 300)) as tree, tree.writer() as writer:
        writer.add("a", book(1))
        writer.begin("b").write(book(2))
    path = shutil.copytree(tmp_path / "s", tmp_path / "copy")
    table = Table.SETTING + b"tokenizer" if request.param == "not recorded" else Table.BLOB
    with lmdb.open(str(path / "index.lmdb"), create=False) as index, index.begin(write=True) as records:
        (key,) = (bytes(key) for key, _ in records.cursor() if bytes(key).startswith(table))
        records.put(key, records.get(key)[:-1] + b"?") if request.param == "damaged" else records.delete(key)
    return path


def test_a_damaged_tokenizer_is_a_problem_and_not_an_end(without_tokenizer):
    result = run("verify", without_tokenizer)
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "problem" in result.stdout.splitlines()[-1]
    assert "2 documents" in result.stdout.splitlines()[-1]


def test_a_damaged_tokenizer_hides_no_numbers(tmp_path, without_tokenizer):
    text, result = (run("info", without_tokenizer, *more, COLUMNS="200") for more in ((), ("--json",)))
    assert (text.exit_code, text.stderr, result.exit_code, result.stderr) == (1, "", 1, "")
    assert "a damaged tokenizer" in text.stdout
    (said,), (sound,) = objects(result.stdout), objects(good("info", tmp_path / "s", "--json"))
    assert (said.pop("tokenizer"), sound.pop("tokenizer"), sound.pop("tokenizer_fault")) == (None, "hf", None)
    assert said.pop("tokenizer_fault") in " ".join(text.stdout.split())
    assert said.pop("vocabulary") in (None, sound["vocabulary"])
    for each in ("path", "disk_bytes"):
        del said[each], sound[each]
    assert said.items() <= sound.items()
    assert objects(good("gist", "list", without_tokenizer, "--json")) == said["gist_sets"]


def test_compacting_keeps_what_is_alive(own):
    good("gist", "build", own, "--dim", "8")
    before = objects(good("docs", own, "--json"))
    dead = objects(good("info", own, "--json"))[0]["dead_blocks"]
    assert dead > 0
    (said,) = objects(good("compact", own, "--json"))
    assert said["removed_blocks"] == dead
    after = objects(good("docs", own, "--json"))
    for each in (*before, *after):
        del each["since_commit"]
    assert after == before
    (info,) = objects(good("info", own, "--json"))
    assert (info["dead_blocks"], info["epoch"]) == (0, said["epoch"])
    assert info["gist_sets"][0]["stale"] == 0
    assert good("cat", own, "books/3.txt") == book(3)
    assert "all is well" in good("verify", own)
    assert "0 dead blocks" in good("compact", own)
