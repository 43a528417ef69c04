"""What only a process of its own shows: pipes, terminals, encodings, what is imported."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mctree
from tests.cli.command_lines import environment, process

COMMAND = [sys.executable, "-m", "mctree"]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store whose output does not fit into a pipe."""
    path = tmp_path_factory.mktemp("large") / "large.mctree"
    with mctree.create(path) as tree, tree.writer() as writer:
        writer.add("large", b"a line of text\n" * 40_000)
        for i in range(2000):
            writer.add(f"a rather long name, so that the list does not fit into a pipe {i}", "x")
    return path


def in_terminal(*args: str | Path, columns: int = 80, **env: str) -> tuple[int, str]:
    """Run the command on a terminal of its own; the exit code and what it wrote."""
    leader, follower = pty.openpty()
    variables = {**environment(TERM="xterm-256color", **env)}
    variables["COLUMNS"] = str(columns)
    with subprocess.Popen([*COMMAND, *args], stdin=follower, stdout=follower, stderr=follower, env=variables) as child:
        os.close(follower)
        written = b""
        while True:
            try:
                part = os.read(leader, 1 << 16)
            except OSError:  # how Linux says that the other side is gone
                break
            if not part:
                break
            written += part
        os.close(leader)
        code = child.wait(60)
    return code, written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", [["docs"], ["docs", "--json"], ["cat", "large"]], ids=" ".join)
def test_whoever_reads_may_go_away(large, command, unbuffered):
    name, *rest = command
    env = environment(PYTHONUNBUFFERED=unbuffered)
    child = subprocess.Popen([*COMMAND, name, large, *rest], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.read(100)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(60) == 141


@pytest.mark.parametrize("command", [["info"], ["docs"], ["cat", "large"]], ids=" ".join)
def test_a_full_disk_does_not_pass_for_success(large, command):
    name, *rest = command
    with open("/dev/full", "wb") as full:
        result = process(name, large, *rest, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert result.returncode == 1
    assert re.fullmatch(rb"mctree: [^\n]*No space left on device[^\n]*\n", result.stderr)


def closed(descriptors: str, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command with some of its standard descriptors closed, as the shell writes that."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {descriptors}', "sh", *COMMAND, *args],
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", [["info"], ["docs", "--json"], ["cat", "large"]], ids=" ".join)
def test_without_an_output_nothing_passes_for_success(large, command):
    name, *rest = command
    result = closed(">&-", name, large, *rest)
    assert result.returncode == 1
    assert re.fullmatch(rb"mctree: [^\n]*Bad file descriptor\n", result.stderr)


def test_closed_descriptors_are_given_to_no_file_of_a_store(tmp_path):
    # What a library has to say goes to descriptor 2, whatever that has become.
    store = tmp_path / "store.mctree"
    script = (
        "import os, sys; from mctree.cli import program; kept = program.cli.main\n"
        "def listed(*args):\n"
        "    import mctree; tree = mctree.create(sys.argv[1])\n"
        "    print(*[os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)], file=open(sys.argv[2], 'w'))\n"
        "program.cli.main = listed\n"
        "from mctree.cli.main import main; main()"
    )
    told = tmp_path / "told"
    subprocess.run(
        ["sh", "-c", 'exec "$@" 0<&- >&- 2>&-', "sh", sys.executable, "-c", script, store, told],
        env=environment(),
        check=False,
        timeout=60,
    )
    assert told.read_text().split() == ["/dev/null"] * 3


def test_a_terminal_without_utf8_gets_ascii_that_reads_back(store):
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    listed = process("docs", store, env=plain)
    assert listed.returncode == 0
    whale = next(line for line in listed.stdout.splitlines() if b"\\u9be8" in line)
    shown = re.split(rb"  +", whale)[-1]
    assert process("cat", store, shown, env=plain).stdout.startswith(b"hostile")
    picture = process("show", store, env=plain)
    assert picture.stdout.isascii()
    assert b"|-" in picture.stdout and b"##" in picture.stdout


def test_colours_are_for_terminals_that_want_them(store):
    assert b"\x1b" not in process("show", store).stdout
    code, coloured = in_terminal("show", store)
    assert code == 0
    assert "\x1b[36m" in coloured
    _, plain = in_terminal("show", store, NO_COLOR="1")
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain == process("show", store).stdout.decode()


def test_nothing_but_colours_reaches_a_terminal(store):
    for command in (["docs"], ["show"], ["show", "2:1"], ["cat", "no\x1b]0;such\x07"]):
        _, written = in_terminal(command[0], store, *command[1:])
        assert all(letter.isprintable() or letter == "\n" for letter in re.sub(r"\x1b\[[0-9;]*m", "", written))


def test_progress_is_drawn_on_a_terminal_and_gone_at_the_end(large, tmp_path):
    code, written = in_terminal("gist", "build", large, "--name", "drawn", "--dim", "8")
    assert code == 0
    assert "building drawn" in written
    assert "\x1b[2K" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.splitlines()[-1].startswith("\x1b[1A\x1b[2Kgist set drawn: ")
    quiet = process("gist", "build", large, "--name", "quiet", "--dim", "8", "--quiet")
    assert quiet.stderr == b""


def loaded(*args: str | Path) -> set[str]:
    """The modules that a command line loads."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    code += "; from mctree.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, env=environment(), check=True, timeout=60
    )
    return set(result.stderr.decode().split())


def test_looking_loads_no_more_than_it_must(store):
    heavy = {"rich", "tokenizers", "pyarrow", "torch", "hypothesis", "pytest", "multiprocessing", "mctree.ingest"}
    assert not heavy & {
        name.split(".")[0] if name.split(".")[0] != "mctree" else name for name in loaded("info", store)
    }
    version = loaded("--version")
    assert not [name for name in version if name.startswith(("mctree.cli.commands", "rich"))]


def test_a_process_that_ends_looks_for_no_garbage(store):
    code = "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr))"
    code += "; from mctree.cli.main import main; main()"
    for args, status in ((["info", store], 0), (["info", "nowhere"], 1)):
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, env=environment(), check=False, timeout=60
        )
        assert done.returncode == status
        assert int(done.stderr.split()[-1]) > 10_000


def test_the_version_is_that_of_the_package():
    result = process("--version")
    assert result.stdout == f"mctree {mctree.__version__}\n".encode()
    assert (result.returncode, result.stderr) == (0, b"")
