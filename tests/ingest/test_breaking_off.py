"""A run that ends at any moment leaves a whole store, and the next run makes it what it would have been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import CorruptError
from mctree.ingest import ingest
from mctree.ingest.interrupts import Interrupts
from mctree.testing import ToyEncoder, scratch
from mctree.testing.processes import KILLED, in_child, kill_after
from tests.ingest.corpora import PLAIN, ListedSource, held, sync, texts, write


def document(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size).replace(b"\0", b"\n")


OLD = {f"{i}.txt": document(i, 300 + 97 * i) for i in range(5)}
NEW = {
    **OLD,
    "1.txt": OLD["1.txt"] + b"more",
    "2.txt": b"other",
    "5.txt": document(5, 3000),
    "r.jsonl": b'{"text": "x"}\n' * 9,
}
del NEW["3.txt"]


def check(store: str, files: dict[str, bytes]) -> None:
    """What is in the store is whole: complete documents of these files or the older ones, or the start of one."""
    for name, one in held(store).items():
        file = os.path.basename(name.decode()).partition("#")[0]
        if file == "r.jsonl":
            assert one.data == b"x"
        else:
            known = [state[file] for state in (OLD, files) if file in state]
            assert any(content.startswith(one.data) if one.open else content == one.data for content in known)


@given(st.integers(1, 150), st.booleans(), st.sampled_from([400, 1 << 20]))
@settings(max_examples=25)
def test_a_process_that_dies_at_any_write(calls, fresh, batch_bytes):
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        if not fresh:
            write(root, OLD)
            sync(root, store)
        write(root, NEW)

        def dying() -> None:
            kill_after(calls)
            sync(root, store, batch_bytes=batch_bytes)

        assert in_child(dying) in (0, KILLED)
        if os.path.exists(store):
            check(store, NEW)
        sync(root, store, batch_bytes=batch_bytes)
        expected = {b"t/" + name.encode(): content for name, content in NEW.items() if name != "r.jsonl"}
        assert texts(store) == expected | {b"t/r.jsonl#%d" % i: b"x" for i in range(1, 10)}
        assert not sync(root, store).changed


@given(st.integers(1, 200))
@settings(max_examples=40)
def test_a_first_run_that_dies_anywhere_is_made_up_for_by_the_next(calls):
    """The set of gists and its being the default are there or not there together."""
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        write(root, {"a": b"some text " * 50, "b": b"other words " * 40})

        def dying() -> None:
            kill_after(calls)
            ingest([root], store, tokenizer="bytes", encoder=ToyEncoder(), workers=1)

        assert in_child(dying) in (0, KILLED)
        ingest([root], store, tokenizer="bytes", encoder=ToyEncoder(), workers=1)
        with mctree.open(store, encoders=[ToyEncoder()]) as tree, tree.snapshot() as snapshot:
            assert snapshot.default_gists is not None
            assert snapshot.gists().rows(1) == snapshot.blocks > 0


SCRIPT = """
import sys
from mctree.ingest import ingest
print("begun", flush=True)
ingest([sys.argv[1], "-"], sys.argv[2], tokenizer="bytes", encoder="none", workers=2, batch_bytes=300_000)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_at_any_time(folder, end):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    files = {f"{i:03}.txt": document(i, 100_000 + i) for i in range(100)} | {"long": document(999, 4_000_000)}
    write(root, files)
    chosen = random.Random(int(end))
    for _ in range(4):
        command = [sys.executable, "-c", SCRIPT, root, store]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begun\n"
            # Its standard input does not end, so it does not end either before it is stopped.
            time.sleep(chosen.random() * 0.5)
            child.send_signal(end)
            assert child.wait() == -end
        if os.path.exists(store):
            check(store, files)
    sync(root, store, **({} if os.path.exists(store) else PLAIN))
    assert texts(store) == {b"t/" + name.encode(): content for name, content in files.items()}


class Striking(ToyEncoder):
    """An encoder during whose work somebody presses Ctrl-C."""

    strikes = 0

    def encode(self, level: int, children: Any, mask: Any, span: Any = None) -> np.ndarray:
        while self.strikes:
            self.strikes -= 1
            signal.raise_signal(signal.SIGINT)
        return super().encode(level, children, mask, span)


@pytest.mark.parametrize("strikes", [1, 2])
def test_ctrl_c_within_a_commit_waits_for_its_end_unless_it_is_pressed_twice(folder, strikes):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    files = {f"{i}.txt": document(i, 30_000) for i in range(4)}
    write(root, files)
    encoder = Striking()
    encoder.strikes = strikes
    with pytest.raises(KeyboardInterrupt):
        ingest([root], store, tokenizer="bytes", encoder=encoder, batch_bytes=50_000, workers=1)
    with mctree.open(store) as tree:
        tree.writer().close()
    assert bool(texts_of(store, encoder)) is (strikes == 1)
    encoder.strikes = 0
    ingest([root], store, encoder=encoder)
    assert texts_of(store, encoder) == {b"t/" + name.encode(): content for name, content in files.items()}


def texts_of(store: str, encoder: ToyEncoder) -> dict[bytes, bytes]:
    with mctree.open(store, encoders=[encoder]) as tree, tree.snapshot() as snapshot:
        return {one.source: one.read() for one in snapshot.documents()}


def test_ctrl_c_while_input_is_awaited_ends_the_run_at_once(folder):
    store = os.path.join(folder, "s")

    class Waiting(ListedSource):
        def _read(self, name: bytes) -> Any:
            yield b"x"
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the interrupt was lost")

    with pytest.raises(KeyboardInterrupt):
        ingest(Waiting({b"t": []}), store, **PLAIN)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert texts(store) == {}


def test_somebody_elses_handler_is_left_alone():
    struck = []
    before = signal.signal(signal.SIGINT, lambda number, frame: struck.append(number))
    try:
        with Interrupts() as interrupts, interrupts.held:
            signal.raise_signal(signal.SIGINT)
            assert struck == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_steps_within_steps_wait_for_the_outermost():
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.held:
            with interrupts.held:
                signal.raise_signal(signal.SIGINT)
            done.append("inner")
        with pytest.raises(CorruptError), interrupts.held:
            signal.raise_signal(signal.SIGINT)
            raise CorruptError("this says more than the interrupt")
    assert done == ["inner"]


def test_a_run_in_another_thread(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text"})
    thread = threading.Thread(target=sync, args=(root, store))
    thread.start()
    thread.join()
    assert texts(store) == {b"t/a": b"text"}


def test_an_error_of_whoever_listens_ends_the_run_and_frees_the_store(folder, no_thread_stays):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text"})

    def failing(event: object) -> None:
        raise ZeroDivisionError

    for workers in (1, 2):
        with pytest.raises(ZeroDivisionError):
            sync(root, store, on_event=failing, workers=workers)
    sync(root, store)
    assert texts(store) == {b"t/a": b"text"}
