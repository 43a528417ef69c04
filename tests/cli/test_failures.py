"""Bad input gets one clear line, and an exit code that says whose fault it is."""

from __future__ import annotations

import os
import shutil

import click
import pytest

import mctree
from mctree.cli.failures import report
from mctree.errors import CorruptError, LockedError, UsageError
from tests.cli.command_lines import assert_printable, bad, good, make_store, objects, run

WITH_A_STORE = (
    ["info"],
    ["docs"],
    ["show"],
    ["show", "1:0"],
    ["cat", "x"],
    ["search", "x"],
    ["rm", "x"],
    ["compact"],
    ["verify"],
    ["log"],
    ["keep", "3"],
    ["gist", "build"],
    ["gist", "refresh"],
    ["gist", "list"],
    ["gist", "default", "x"],
    ["gist", "drop", "x"],
)
WRITING = (["rm", "diary"], ["compact"], ["keep", "3"], ["gist", "build"], ["gist", "drop", "x"])


def on(command, store):
    name, *rest = command
    inner = [rest.pop(0)] if name == "gist" else []
    return [name, *inner, str(store), *rest]


@pytest.fixture
def own(store, tmp_path):
    """A copy of the store that a test may spoil."""
    return shutil.copytree(store, tmp_path / "own.mctree")


@pytest.mark.parametrize("command", WITH_A_STORE, ids=" ".join)
def test_what_is_no_store_is_named(tmp_path, command):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "nothing", "evil\x1b[31m\nname"):
        message = bad(*on(command, tmp_path / name))
        assert "no mctree store" in message
        assert name.split("\x1b")[0] in message


@pytest.mark.parametrize("command", WITH_A_STORE, ids=" ".join)
def test_a_store_whose_index_is_cut_off_is_damaged(own, command):
    os.truncate(own / "index.lmdb" / "data.mdb", 5000)
    assert "cut off" in bad(*on(command, own)) or "index" in bad(*on(command, own))


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_a_locked_store_names_the_holder(own, command):
    with mctree.open(own) as tree, tree.writer():
        assert f"process {os.getpid()}" in bad(*on(command, own))
        good("info", own)


@pytest.mark.parametrize("address", ["9;9", "1", "-", "1:-1", "01:3", "a0/1:1", "1:\x1b[31m", "99:0", f"1:{10**18}"])
def test_what_is_no_address_is_wrong_usage(store, address):
    bad("show", store, address, code=2)


@pytest.mark.parametrize("address", ["-1:0", "-12:-3"])
def test_an_address_below_zero_is_no_option(store, address):
    for given in ([store, address], [store, "--chars", "5", address], [store, "--", address]):
        said = bad("show", *given, code=2)
        assert "option" not in said
    assert "does not exist" in bad("show", address, store)
    assert f"'{address}' is no address" in bad("show", store, address, code=2)
    assert "No such option '--nope'" in bad("show", store, "--nope", code=2)


@pytest.mark.parametrize("commits", ["-5", "-64"])
def test_a_number_of_commits_below_zero_is_out_of_range(store, commits):
    assert f"{commits} is not in the range" in bad("keep", store, commits, code=2)
    assert "No such option '-x'" in bad("keep", store, "-x", code=2)


@pytest.mark.parametrize("address", ["1:999999", "12:0", "63:5", "a1/0:0", "0:31999"])
def test_a_node_that_does_not_exist_is_not_found(store, address):
    assert address in bad("show", store, address)


@pytest.mark.parametrize(
    "command",
    [
        ["nope"],
        ["docs"],
        ["docs", "a", "b"],
        ["info", "s", "--commit", "x"],
        ["info", "s", "--commit", "0"],
        ["show", "s", "1:0", "--chars", "-1"],
        ["search", "s"],
        ["search", "s", "q", "--top", "0"],
        ["keep", "s", "-1"],
        ["keep", "s", str(1 << 32)],
        ["rm", "s"],
        ["gist", "nope"],
        ["gist", "build", "s", "--encoder", "none"],
        ["gist", "build", "s", "--dim", "7"],
        ["ingest"],
        ["--nope\x1b[31m"],
    ],
    ids=ascii,
)
def test_a_command_line_that_makes_no_sense(command):
    bad(*command, code=2)


@pytest.mark.parametrize("command", ["docs", "info", "verify", "log"])
def test_an_empty_path_is_not_the_folder_that_one_is_in(store, command, monkeypatch):
    """Found by review: an unset variable in a script."""
    monkeypatch.chdir(store)
    assert "the path of the store is empty" in bad(command, "", code=2)


def test_a_number_that_is_no_image_is_said_to_be_none(store):
    assert "#1 is no image" in bad("show", store, "#1", code=2)


def test_no_command_at_all_shows_what_there_is():
    result = run()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr


def test_removal_is_all_or_nothing(own):
    before = good("docs", own, "--json")
    bad("rm", own, "books/0.txt", "no such")
    assert good("docs", own, "--json") == before
    removed = objects(good("rm", own, "books/0.txt", "#3", "books/0.txt", "--json"))
    assert [each["source"] for each in removed] == ["books/0.txt", "books/2.txt"]
    left = [each["source"] for each in objects(good("docs", own, "--json"))]
    assert left == [each["source"] for each in objects(before) if each["source"] not in ("books/0.txt", "books/2.txt")]


def test_removal_for_people(own):
    text = good("rm", own, "books/0.txt")
    assert "books/0.txt" in text and "1 document removed" in text


def test_keeping_fewer_commits_lets_old_ones_go(own):
    assert "newest 1 commit " in good("keep", own, "1")
    with mctree.open(own) as tree, tree.writer() as writer:
        for i in range(40):
            writer.add(f"note {i}", "x")
            writer.commit()
    assert len(objects(good("log", own, "--json"))) < 40
    bad("info", own, "--commit", "1")
    assert "all" in good("keep", own, "0")


ERRORS = {
    UsageError("cannot be"): 2,
    CorruptError("broken\nin two \x1b[31m lines"): 1,
    LockedError("taken"): 1,
    FileNotFoundError(2, "No such file or directory", "/x\x1b[31m\n"): 1,
    FileNotFoundError(2, "No such file or directory", b"/x\xff"): 1,
    OSError(28, "No space left on device"): 1,
    OSError("no number"): 1,
    BrokenPipeError(32, "Broken pipe"): 141,
    KeyboardInterrupt(): 130,
    click.Abort(): 130,
    click.BadParameter("no good \x1b"): 2,
    click.ClickException("no good"): 1,
    MemoryError(): 1,
    RecursionError("deep"): 1,
    ZeroDivisionError("of all things \udc80"): 1,
}


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.usefixtures("no_signals")
def test_every_error_has_a_code_and_a_printable_line(error, capsys, monkeypatch):
    monkeypatch.delenv("MCTREE_DEBUG", raising=False)
    assert report(error) == ERRORS[error]
    out, err = capsys.readouterr()
    assert out == ""
    assert_printable(err)
    assert "Traceback" not in err
    if not isinstance(error, BrokenPipeError):
        assert err.startswith("mctree: ")


@pytest.mark.usefixtures("no_signals")
def test_a_traceback_is_there_for_whoever_asks(capsys, monkeypatch):
    monkeypatch.setenv("MCTREE_DEBUG", "1")
    try:
        raise CorruptError("broken")
    except CorruptError as error:
        assert report(error) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("mctree: broken\n")


def test_an_interruption_can_say_what_it_means(capsys, no_signals):
    error = KeyboardInterrupt()
    error.add_note("run it again to go on")
    assert report(error) == 130
    assert capsys.readouterr().err == "mctree: interrupted; run it again to go on\n"


def test_a_bare_failure_of_the_system_is_named(tmp_path):
    os.symlink("loop", tmp_path / "loop")
    assert "loop" in bad("info", tmp_path / "loop")


def test_the_store_of_these_tests_is_sound(tmp_path):
    assert "all is well" in good("verify", make_store(tmp_path / "s"))
