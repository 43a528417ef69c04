"""info, docs, show, cat and log: what is shown is what the library says."""

from __future__ import annotations

import os
import re

import pytest

import mctree
from mctree.cli.escaping import escape
from mctree.cli.formatting import cells
from mctree.encoders import train_bpe
from mctree.geometry import Address
from tests.cli.command_lines import HOSTILE, assert_printable, bad, book, good, objects, process, run

READERS = (["info"], ["docs"], ["show"], ["show", "1:0"], ["show", "0:5"], ["show", "2:1"], ["cat", "diary"], ["log"])


@pytest.fixture(scope="module")
def tree(store):
    with mctree.open(store, writable=False) as tree:
        yield tree


@pytest.fixture
def snapshot(tree):
    with tree.snapshot() as snapshot:
        yield snapshot


def test_info_in_json_says_what_the_snapshot_says(store, snapshot):
    (said,) = objects(good("info", store, "--json"))
    assert said["path"] == str(store)
    assert said["commit"] == snapshot.commit
    assert said["documents"] == snapshot.documents_count == 3 + len(HOSTILE) + 1
    assert said["tokens"] == snapshot.tokens_count
    assert said["source_bytes"] == sum(document.size for document in snapshot.documents())
    assert said["blocks"] == snapshot.blocks
    assert said["dead_blocks"] == len(book(1).encode()) // 32 + 1
    assert said["placed_tokens"] + len("dear diary") == said["tokens"]
    assert said["disk_bytes"] > 0
    assert [level["level"] for level in said["levels"]] == list(range(snapshot.top, -1, -1))
    for level in said["levels"][:-1]:
        count = snapshot.positions // level["positions_per_node"]
        alive = sum(snapshot.exists(Address(0, level["level"], i)) for i in range(count))
        assert level["nodes"] == alive


def test_info_for_people_holds_the_same_numbers(store, snapshot):
    text = good("info", store)
    assert f"{snapshot.tokens_count:,}" in text
    assert f"blocks     {snapshot.blocks:,}, " in text
    assert "10 of them in unfinished blocks" in text
    assert f"commit     {snapshot.commit} " in text


def test_docs_in_json_lists_every_document(store, snapshot):
    said = objects(good("docs", store, "--json"))
    documents = list(snapshot.documents())
    assert [each["source"] for each in said] == [escape(document.source) for document in documents]
    for each, document in zip(said, documents, strict=True):
        assert each["id"] == document.id
        assert (each["bytes"], each["tokens"], each["blocks"]) == (document.size, document.tokens, document.blocks)
        assert each["open"] == document.open == (document.source == b"diary")
        assert each["digest"] == (document.digest.hex() or None)


def test_docs_for_people_lists_every_document_on_a_line_of_its_own(store, snapshot):
    head, *lines = good("docs", store).splitlines()
    assert head.split() == ["id", "bytes", "tokens", "blocks", "source"]
    for line, document in zip(lines, snapshot.documents(), strict=True):
        assert line.endswith(f"  {escape(document.source)}")
        assert line.split()[:4] == [
            str(document.id),
            *(f"{n:,}" for n in (document.size, document.tokens, document.blocks)),
        ]
        assert ("open" in line.split()[4:5]) == document.open


@pytest.mark.parametrize("command", [*READERS, ["search", "whale"], ["verify"], ["gist", "list"]], ids=" ".join)
def test_nothing_that_is_printed_controls_the_terminal(store, command):
    name, *rest = command
    result = run(name, *([rest.pop(0)] if name == "gist" else []), store, *rest)
    assert_printable(result.output)
    result.output.encode("utf-8")


@pytest.mark.parametrize("command", [c for c in READERS if c[0] != "cat"], ids=" ".join)
def test_json_is_the_same_every_time(store, command):
    name, *rest = command
    once, again = (good(name, store, *rest, "--json") for _ in range(2))
    assert objects(once) == objects(again)
    assert [list(each) for each in objects(once)] == [list(each) for each in objects(again)]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_document_comes_back_by_the_name_that_is_shown(store, snapshot, name):
    assert run("cat", store, escape(name)).stdout_bytes == snapshot.document(name).read()


@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.startswith((b"-", b"#"))], ids=ascii)
def test_a_document_comes_back_by_its_own_bytes(store, snapshot, name):
    assert run("cat", store, name.decode("utf-8", "surrogateescape")).stdout_bytes == snapshot.document(name).read()


def test_names_of_any_bytes_cross_the_border_of_processes(store, snapshot):
    name = b"\xff\xfe\x80 no text"
    shown = process("docs", store).stdout.splitlines()[HOSTILE.index(name) + 4].split(b"  ")[-1]
    for argument in (name, shown):
        result = process("cat", store, argument)
        assert result.stdout == snapshot.document(name).read()
        assert (result.returncode, result.stderr) == (0, b"")


def test_a_document_comes_back_by_its_number(store, snapshot):
    for document in snapshot.documents():
        assert run("cat", store, f"#{document.id}").stdout_bytes == document.read()


def test_the_bytes_are_not_touched_on_their_way_out(tmp_path):
    data = bytes(range(256)) * 300 + b"\r\n\r\x00"
    with mctree.create(tmp_path / "s") as tree, tree.writer() as writer:
        writer.add("raw", data)
    assert process("cat", tmp_path / "s", "raw").stdout == data


def test_a_name_that_could_be_read_in_two_ways_is_read_as_it_is_shown(tmp_path):
    with mctree.create(tmp_path / "s") as tree, tree.writer() as writer:
        for name in ("A", "\\x41", "\\\\x41", "a\\b"):
            writer.add(name, f"this is {name}")
    assert good("cat", tmp_path / "s", "\\x41") == "this is A"
    assert good("cat", tmp_path / "s", "\\\\x41") == "this is \\x41"
    assert good("cat", tmp_path / "s", "a\\b") == good("cat", tmp_path / "s", "a\\\\b") == "this is a\\b"


def test_a_wrong_name_gets_an_offer(store):
    assert "did you mean books/2.txt?" in bad("cat", store, "elsewhere/2.txt")
    assert "`mctree docs` lists them" in bad("cat", store, "nothing like it")
    assert "#99" in bad("cat", store, "#99") or "99" in bad("cat", store, "#99")


def test_a_removed_document_is_there_at_an_older_commit(store, snapshot):
    bad("cat", store, "books/1.txt")
    before = str(snapshot.commit - 1)
    assert good("cat", store, "books/1.txt", "--commit", before) == book(1)
    assert len(objects(good("docs", store, "--commit", before, "--json"))) == snapshot.documents_count + 1
    assert objects(good("info", store, "--commit", before, "--json"))[0]["dead_blocks"] == 0


@pytest.mark.parametrize("command", [c for c in READERS if c[0] != "log"], ids=" ".join)
def test_a_commit_that_never_was_is_an_error(store, command):
    name, *rest = command
    assert "commit 999" in bad(name, store, *rest, "--commit", "999")


def test_show_in_json_says_what_the_node_says(store, snapshot):
    for address in ("0:5", "1:3", "2:1", f"1:{snapshot.blocks - 1}"):
        node = snapshot.node(address)
        (said,) = objects(good("show", store, address, "--json", "--sources", "100", "--chars", "100000"))
        assert said["span"] == list(node.span)
        assert said["tokens"] == node.tokens
        assert said["parent"] == (str(node.parent.address) if node.parent else None)
        assert said["children"] == [str(child.address) for child in node.children]
        assert said["text"] == node.text()
        assert said["whole_text"]
        assert [(p["source"], p["start"], p["stop"]) for p in said["sources"]] == [
            (escape(p.source), p.start, p.stop) for p in node.provenance()
        ]
        assert not said["more_sources"]


def test_show_cuts_what_is_long_and_says_so(store, snapshot):
    several = next(i for i in range(snapshot.blocks // 32) if len(snapshot.provenance(1024 * i, 1024 * (i + 1), 2)) > 1)
    (said,) = objects(good("show", store, f"2:{several}", "--json", "--sources", "1", "--chars", "40"))
    assert len(said["text"]) == 40
    assert not said["whole_text"]
    assert len(said["sources"]) == 1
    assert said["more_sources"]
    text = good("show", store, f"2:{several}", "--sources", "1", "--chars", "40")
    assert "and more" in text and " …" in text
    assert good("show", store, "1:0", "--chars", "0").count("\n\n") == 0


def test_show_for_people_names_everything(store, snapshot):
    text = good("show", store, "2:1")
    for part in ("2:1", "1024..2048", "1,024 tokens", "1:32", "1:63", "books/0.txt", "bytes 1024..2048", "1:33"):
        assert part in text
    assert "1:0" in good("show", store, "0:5")


def test_show_without_an_address_draws_the_tree(store, snapshot):
    text = good("show", store)
    assert "books/0.txt" in text
    assert "├─ 1:0" in text
    assert "█" in text
    cover = snapshot.cover()
    assert f"{cover.level[-1]}:{cover.index[-1]}" in text


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("command", [["info"], ["log"], ["show"], ["show", "0:5"], ["show", "1:0"], ["show", "2:1"]])
def test_what_is_shown_fits_the_terminal(store, command, columns):
    name, *rest = command
    shown = good(name, store, *rest, COLUMNS=columns).splitlines()
    assert max(map(cells, shown)) <= int(columns)


def test_a_narrow_terminal_gets_the_same_words(store):
    for name in ("info", "log"):
        wide, narrow = (good(name, store, COLUMNS=columns) for columns in ("200", "40"))
        numbers = [set(re.findall(r"\d[\d,]*", text.partition("\n\n")[0])) for text in (wide, narrow)]
        assert numbers[0] - {"0"} <= numbers[1] | set(re.findall(r"\d+", str(store)))


def test_what_stands_in_the_store_is_called_by_its_name(tmp_path):
    with mctree.create(tmp_path / "s", tokenizer=train_bpe([book(1).encode()], 300)) as tree, tree.writer() as writer:
        writer.add("a", "text")
    text = good("info", tmp_path / "s")
    # Nobody else's: it was trained here, and only the format is theirs.
    assert "a tokenizer in Hugging Face's format" in text and " hf " not in text
    assert "documents  1 ·" in text and "documents  1 document" not in text
    assert objects(good("info", tmp_path / "s", "--json"))[0]["tokenizer"] == "hf"


def test_the_empty_store_has_a_picture(tmp_path):
    mctree.create(tmp_path / "s").close()
    assert "documents  0 " in good("show", tmp_path / "s")
    assert good("docs", tmp_path / "s", "--json") == ""
    assert objects(good("info", tmp_path / "s", "--json"))[0]["levels"] == [
        {"level": 0, "nodes": 0, "positions_per_node": 1}
    ]


def test_a_store_of_bare_tokens_is_shown_in_numbers(tmp_path):
    with mctree.create(tmp_path / "s", vocabulary=70000) as tree, tree.writer() as writer:
        document = writer.begin("numbers")
        document.extend(range(69000, 69100))
        document.close()
    assert "69000 69001" in good("show", tmp_path / "s")
    assert objects(good("show", tmp_path / "s", "1:0", "--json"))[0]["text"].startswith("69000 69001 ")
    assert "tokens" in bad("cat", tmp_path / "s", "numbers", code=2)


def test_log_lists_the_commits_that_open(store, tree):
    said = objects(good("log", store, "--json"))
    assert [each["commit"] for each in said] == [commit.number for commit in tree.commits()][::-1]
    for each in said:
        with tree.snapshot(each["commit"]) as snapshot:
            assert (each["documents"], each["tokens"]) == (snapshot.documents_count, snapshot.tokens_count)
    assert objects(good("log", store, "--json", "-n", "1")) == said[:1]
    assert len(good("log", store).splitlines()) == len(said) + 1


def test_looking_needs_no_permission_to_write(store, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for the superuser")
    os.chmod(store, 0o555)
    try:
        good("info", store)
    finally:
        os.chmod(store, 0o755)
