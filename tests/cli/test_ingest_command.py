"""From files to a tree and its picture, from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import mctree
from mctree.cli.commands.ingest import default_store
from mctree.cli.escaping import escape
from mctree.cli.interruption import heeded
from mctree.encoders import train_bpe
from mctree.errors import MctreeError
from mctree.ingest import Progress, plan
from mctree.sources.images import Box
from tests.cli.command_lines import HOSTILE, assert_printable, bad, book, environment, good, objects, process, run

RAW = ("--tokenizer", "bytes", "--encoder", "none")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder to ingest, beside which one stands."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    for seed in range(6):
        (folder / "deep" / f"{seed}.txt").write_text(book(seed, 300))
    (folder / "picture").write_bytes(b"\x00\x01\x02" * 100)
    for name in HOSTILE:
        (folder / os.fsdecode(name.replace(b"/", b"_"))).write_text("hostile")
    return folder


def test_one_command_makes_a_tree_and_shows_it(corpus):
    text = good("ingest", "corpus")
    assert_printable(text)
    assert (corpus.parent / "corpus.mctree").is_dir()
    for part in (
        f"{6 + len(HOSTILE)} new",
        "skipped  1",
        "level",
        "█",
        "├─ 1:0",
        "gist set   default",
        "corpus.mctree",
    ):
        assert part in text
    for name in HOSTILE:
        source = escape(b"corpus/" + name.replace(b"/", b"_"))
        assert good("cat", "corpus.mctree", source) == "hostile"
    assert "whale" in good("search", "corpus.mctree", "whale", "--top", "1")


def test_a_part_of_one_image_is_read_and_no_other_part_of_the_command_line_is_believed(tmp_path, monkeypatch):
    pictures = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("p.png", "two/a.png", "two/b.png"):
        pictures.new("RGB", (400, 300), (10, 200, 30)).save(name)
    assert "one image" in bad("ingest", "two", "-o", "s.mctree", "--region", "0,0,10,10", code=2)
    assert "region 0,0,1000,10 reaches beyond" in bad(
        "ingest", "p.png", "-o", "s.mctree", "--region", "0,0,1000,10", code=2
    )
    assert "X0,Y0,X1,Y1" in bad("ingest", "p.png", "-o", "s.mctree", "--region", "junk", code=2)
    assert "levels 0..3" in bad("ingest", "p.png", "-o", "s.mctree", "--finest", "99", code=2)
    assert not (tmp_path / "s.mctree").exists(), "what is refused makes no store"
    good("ingest", "p.png", "-o", "s.mctree", "--region", "0,0,10,10")
    good("ingest", "p.png", "-o", "s.mctree", "--region", "300,200,310,210")
    with mctree.open("s.mctree") as tree, tree.snapshot() as snapshot:
        image = next(snapshot.images())
        there = image.pixels(Box(0, 0, 400, 300), partial=True).mask
        assert there is not None and there[:10, :10].all() and there[200:210, 300:310].all() and not there.all()


def test_a_second_run_says_what_changed(corpus):
    good("ingest", "corpus", *RAW, "-q")
    (report,) = objects(good("ingest", "corpus", "--json"))
    assert not report["changed"]
    assert report["unchanged"] == 6 + len(HOSTILE)
    assert "as before" in good("ingest", "corpus", "-q")

    with (corpus / "deep" / "0.txt").open("a") as file:
        file.write(" and more")
    (corpus / "deep" / "1.txt").write_text("something else")
    (corpus / "deep" / "2.txt").unlink()
    (corpus / "deep" / "new.txt").write_text("new")
    text = good("ingest", "corpus")
    assert f"1 new, 1 changed, 1 grown, 1 removed, {3 + len(HOSTILE)} unchanged" in text.splitlines()[0]
    assert good("cat", "corpus.mctree", "corpus/deep/0.txt") == book(0, 300) + " and more"
    assert good("cat", "corpus.mctree", "corpus/deep/1.txt") == "something else"
    assert "all is well" in good("verify", "corpus.mctree")


def test_what_is_skipped_is_counted_and_listed_if_asked(corpus):
    (corpus / "link\x1b[31m").symlink_to("deep/0.txt")
    quiet, verbose = (good("ingest", "corpus", *RAW, "-q", *more) for more in ((), ("-v",)))
    assert "skipped  2" in quiet and "picture" not in quiet
    assert "corpus/picture: " in verbose and "corpus/link\\x1b[31m: " in verbose
    assert_printable(verbose)
    (report,) = objects(good("ingest", "corpus", "--json"))
    assert report["skipped"] == sum(report["skipped_reasons"].values()) == len(report["first_skipped"]) == 2


def test_a_reason_is_said_in_full(corpus):
    records = [{"body": "x"}, {"text": 5}, {"body": "y"}]
    (corpus / "r.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records) + '{"text": "a\tb"}\n')
    (corpus / "other.parquet").write_bytes(b"none")
    text = good("ingest", "corpus", *RAW, "-v", COLUMNS="120")
    assert "2 × field 'text' is missing or null, not a string\n" in text
    assert "1 × field 'text' is a number, not a string\n" in text
    assert "1 × not JSON: Invalid control character\n" in text
    assert "r.jsonl#4: line 4: not JSON: Invalid control character at column 12\n" in text
    assert "corpus/other.parquet: is no readable Parquet file" in text


def test_another_text_field_removes_records_but_no_rows_of_a_file_without_the_column(tmp_path, monkeypatch):
    """As the guide says it."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    lines = [{"text": "one", "body": "uno"}, {"text": "two"}]
    (tmp_path / "t" / "r.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    parquet.write_table(arrow.table({"text": ["three"]}), "t/a.parquet")
    parquet.write_table(arrow.table({"text": ["four", "five"], "body": ["quattro", None]}), "t/b.parquet")
    good("ingest", "t", *RAW, "-q")
    text = good("ingest", "t", "--text-field", "body", "-q", COLUMNS="120")
    assert "1 × has no column 'body'" in text
    held = {
        each["source"]: good("cat", "t.mctree", each["source"]) for each in objects(good("docs", "t.mctree", "--json"))
    }
    assert held == {"t/r.jsonl#1": "uno", "t/a.parquet#1": "three", "t/b.parquet#1": "quattro"}


def test_another_id_field_renames_records_unless_one_has_no_id(tmp_path, monkeypatch):
    """As the guide says it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "all.jsonl").write_text('{"text": "one", "id": "a"}\n{"text": "two", "id": "b"}\n')
    (tmp_path / "t" / "some.jsonl").write_text('{"text": "one", "id": "a"}\n{"text": "two"}\n')
    good("ingest", "t", *RAW, "-q")
    good("ingest", "t", "--id-field", "id", "-q")
    held = {each["source"] for each in objects(good("docs", "t.mctree", "--json"))}
    assert held == {"t/all.jsonl#a", "t/all.jsonl#b", "t/some.jsonl#a", "t/some.jsonl#1", "t/some.jsonl#2"}


def test_a_bad_record_is_reported_when_its_file_is_read(corpus, monkeypatch):
    monkeypatch.setattr(plan, "RACY_NS", 0)  # a file that has just been written is settled at once
    (corpus / "r.jsonl").write_text('{"text": "good"}\nbad\n')
    reports = [objects(good("ingest", "corpus", *more, "--json"))[0] for more in (RAW, (), ())]
    assert [report["skipped"] for report in reports] == [2, 1, 1]  # what is binary is looked at each time
    with (corpus / "r.jsonl").open("a") as file:
        file.write("worse\n")
    assert objects(good("ingest", "corpus", "--json"))[0]["skipped"] == 3


@pytest.mark.parametrize("content", [{}, {"a.png": b"\x89PNG\0\0", "b.bin": b"\0"}], ids=["empty", "binaries"])
def test_what_holds_no_text_makes_no_store(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, data in content.items():
        (tmp_path / "folder" / name).write_bytes(data)
    assert "no text was found" in bad("ingest", "folder")
    assert os.listdir() == ["folder"]


@pytest.mark.parametrize(
    ("name", "content", "options", "reason"),
    [
        ("a.bin", b"\0", (), r"a\.bin \(binary\)"),
        ("a.txt", b"long enough", ("--max-bytes", "3"), r"a\.txt \(larger than 3 bytes"),
        ("a.jsonl", b'{"text": "yes"}\n', ("--text-field", "body"), r"a\.jsonl#1 \(line 1: field 'body' is missing"),
    ],
)
def test_why_no_text_was_found_is_said(tmp_path, monkeypatch, name, content, options, reason):
    """Such as a file that cannot be read, or records without the field."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert re.search(rf"no text was found.*, such as {reason}", bad("ingest", name, *options))
    assert os.listdir() == [name]


def test_options_reach_the_sources(corpus):
    lines = '{"body": "one", "key": "a"}\n{"body": "two", "key": "b"}\n'
    (corpus / "records.data").write_text(lines)
    good(
        "ingest",
        "corpus/records.data",
        "-o",
        "a",
        *RAW,
        "--format",
        "jsonl",
        "--text-field",
        "body",
        "--id-field",
        "key",
    )
    assert good("cat", "a", "records.data#b") == "two"
    good("ingest", "corpus", "-o", "b", *RAW, "--include", "deep/", "--exclude", "3.txt", "--max-bytes", "1000000")
    names = [each["source"] for each in objects(good("docs", "b", "--json"))]
    assert names == [f"corpus/deep/{seed}.txt" for seed in range(6) if seed != 3]
    good("ingest", "corpus", "-o", "b", "--include", "4.txt", "--keep-vanished")
    assert len(objects(good("docs", "b", "--json"))) == 5


def test_standard_input_is_an_input(tmp_path):
    result = process("ingest", "-", *RAW, "-q", cwd=tmp_path, input=b"from a pipe")
    assert (result.returncode, result.stderr) == (0, b"")
    assert process("cat", "stdin.mctree", "stdin", cwd=tmp_path).stdout == b"from a pipe"
    # A command that failed before it wrote anything takes nothing away.
    process("ingest", "-", *RAW, "-q", cwd=tmp_path, input=b"")
    assert process("cat", "stdin.mctree", "stdin", cwd=tmp_path).stdout == b"from a pipe"


@pytest.mark.parametrize(
    ("paths", "store"),
    [
        (("corpus",), "corpus.mctree"),
        (("corpus/",), "corpus.mctree"),
        (("some/where/a.jsonl", "b"), "a.jsonl.mctree"),
        (("-",), "stdin.mctree"),
    ],
)
def test_the_store_is_named_after_the_first_path(paths, store):
    assert default_store(paths) == store


def test_the_current_folder_has_a_name(corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    assert default_store((".",)) == "corpus.mctree"
    good("ingest", ".", *RAW, "-q")
    # The store lies in the folder that was ingested, and is no input.
    assert "as before" in good("ingest", ".", "-q")


def test_bad_inputs_are_named(corpus):
    assert "nothere" in bad("ingest", "nothere")
    assert "-o" in bad("ingest", "/", code=2)
    assert "tokenizer" in bad("ingest", "corpus", "--tokenizer", "nothere.json")
    (corpus / "store").write_text("no store")
    bad("ingest", "corpus/deep", "-o", "corpus/store")
    bad("ingest", "corpus/deep", "-o", "corpus")
    good("ingest", "corpus", *RAW, "-q")
    assert "tokenizer" in bad("ingest", "corpus/deep", "-o", "corpus.mctree", "--tokenizer", _tokenizer(corpus), code=2)
    assert not [name for name in os.listdir() if name not in ("corpus", "corpus.mctree")]


def _tokenizer(folder: Path) -> str:
    path = folder.parent.parent / f"{folder.parent.name}.json"
    path.write_bytes(train_bpe([b"some text to train on"], 300).dump())
    return str(path)


def test_a_locked_store_is_not_ingested_into(corpus):
    good("ingest", "corpus", *RAW, "-q")
    with mctree.open("corpus.mctree") as tree, tree.writer():
        assert f"process {os.getpid()}" in bad("ingest", "corpus")


class Fed:
    """A run of `mctree ingest … -` that gets its last input from here, and so never ends too early."""

    def __init__(self, store: Path, *paths: Path) -> None:
        self.store = store
        self.child = subprocess.Popen(
            [sys.executable, "-m", "mctree", "ingest", *paths, "-", "-o", store, "--workers", "1", *RAW],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def __enter__(self) -> Fed:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()

    def feed(self, data: bytes) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def wait_until(self, blocks: int) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                with mctree.open(self.store, writable=False) as tree, tree.snapshot() as snapshot:
                    if snapshot.blocks >= blocks:
                        return
            except MctreeError:
                pass
            time.sleep(0.05)
        raise AssertionError("the run did not come so far")

    def end(self) -> tuple[int, bytes, bytes]:
        out, err = self.child.communicate(timeout=60)
        return self.child.returncode, out, err


BATCH = 8 << 20
LINES = b"".join(b"line %d of a text that is longer than a batch\n" % i for i in range(60_000))


@pytest.mark.parametrize(
    ("end", "count"), [(signal.SIGINT, 120), (signal.SIGKILL, 6)], ids=["interrupted", "killed among long documents"]
)
def test_a_broken_run_loses_a_batch_at_most_and_the_next_goes_on(tmp_path, end, count):
    folder, store = tmp_path / "folder", tmp_path / "s"
    folder.mkdir()
    parts = [LINES[: 12_000_000 // count + i] for i in range(count)]
    for i, part in enumerate(parts):
        (folder / f"{i}.txt").write_bytes(part)
    with Fed(store, folder) as broken:
        broken.wait_until(blocks=1)
        broken.child.send_signal(end)
        code, out, err = broken.end()
    assert out == b""
    if end == signal.SIGINT:
        assert code == 130
        said = re.fullmatch(rb"mctree: interrupted; ([\d,]+) documents? committed[^\n]*goes on[^\n]*\n", err)
        assert said
        assert int(said[1]) == objects(good("info", store, "--json"))[0]["documents"]

    assert "all is well" in good("verify", store)
    committed = sum(each["bytes"] for each in objects(good("docs", store, "--json")))
    assert committed > 0.9 * (sum(map(len, parts)) - BATCH)

    with Fed(store, folder) as again:
        again.feed(b"the end")
        code, out, err = again.end()
    assert (code, err) == (0, b"")
    for i in (0, count // 2, count - 1):
        assert run("cat", store, f"folder/{i}.txt").stdout_bytes == parts[i]
    assert good("cat", store, "stdin") == "the end"
    # Nothing was written twice, and what was committed was not read again.
    (info,) = objects(good("info", store, "--json"))
    assert (info["dead_blocks"], info["documents"]) == (0, count + 1)
    assert re.fullmatch(rb"changes  \d+ new, \d+ unchanged", out.splitlines()[0])
    assert "all is well" in good("verify", store)


def test_a_run_that_is_interrupted_at_once_leaves_nothing_behind(tmp_path):
    with Fed(tmp_path / "s") as fed:
        fed.wait_until(blocks=0)
        fed.child.send_signal(signal.SIGINT)
        code, out, err = fed.end()
    assert (code, out) == (130, b"")
    assert re.fullmatch(rb"mctree: interrupted; no document was committed yet; [^\n]*\n", err)
    assert "all is well" in good("verify", tmp_path / "s")
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.usefixtures("no_signals")
def test_a_run_that_is_interrupted_before_there_is_a_store_says_so(corpus, monkeypatch):
    def interrupted(*_args, on_event, **_options):
        on_event(Progress("training", 0, 0, 0, None, 0.0, None))
        raise KeyboardInterrupt

    monkeypatch.setattr("mctree.ingest.ingest", interrupted)
    message = bad("ingest", "corpus", code=130)
    assert message == "mctree: interrupted; nothing was written yet; the same command begins anew"


DEAF = """
import signal, time
from mctree.cli.failures import say
from mctree.cli.interruption import heeded
with heeded(say):
    signal.signal(signal.SIGINT, lambda *_: None)  # as good as a step in which Python hears no signal
    print("begun", flush=True)
    time.sleep(600)
"""


def test_a_long_step_says_that_it_must_end_and_a_second_ctrl_c_ends_it_at_once():
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        assert "Ctrl-C again stops at once" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.stderr.read() == ""


def test_one_ctrl_c_is_left_to_python_and_what_was_installed_is_gone_at_the_end():
    said: list[str] = []
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), heeded(said.append):
        signal.raise_signal(signal.SIGINT)
    assert (said, threading.active_count()) == ([], threads)
    assert signal.set_wakeup_fd(-1) == -1
