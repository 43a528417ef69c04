"""Jobs come back in order, whoever works on them, and never too many are under way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from mctree.encoders import BytesTokenizer, Encoded
from mctree.ingest.jobs import ImagePart, Job, Part
from mctree.ingest.pipeline import Tokenized
from mctree.ingest.plan import Verdict
from mctree.sources import RawImage


def job(number: int, size: int) -> Job:
    part = Part(b"%d" % number, {}, Verdict.ADD, None, first=True, pieces=[b"%d " % number, b"x" * size])
    return Job([part], size=size)


class Uneven(BytesTokenizer):
    """Takes longer for some jobs than for others, and counts who is at it."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def encode(self, pieces: list[bytes]) -> list[Encoded]:
        self.threads.add(threading.current_thread().name)
        time.sleep(random.Random(pieces[0]).random() / 300)
        return super().encode(pieces)


def test_a_folder_of_images_is_not_read_to_its_end_before_the_first_is_written():
    begun: list[int] = []

    def jobs() -> Iterator[Job]:
        for number in range(10_000):
            begun.append(number)
            raw = RawImage(b"%d" % number, b"/", lambda: pytest.fail("opened"), lambda between: b"")
            yield Job(image=ImagePart(raw, Verdict.ADD, None, None, b"", 0))

    with closing(Tokenized(jobs(), BytesTokenizer(), 2, 1 << 20)) as ready:
        ready.read_ahead()
        assert 2 < len(begun) < 100
        for ended, (one, encoded) in enumerate(ready):
            assert one.image is not None and one.image.raw.name == b"%d" % ended and encoded == []
            assert len(begun) - ended < 100


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_order_is_kept_and_the_queue_is_bounded(workers, ahead):
    begun: list[int] = []
    tokenizer = Uneven()

    def jobs() -> Iterator[Job]:
        for number in range(60):
            begun.append(number)
            yield job(number, 1 << 20)

    with closing(Tokenized(jobs(), tokenizer, workers, 2 << 20)) as ready:
        if ahead:
            ready.read_ahead()
            assert len(begun) == (0 if workers == 1 else 2 + workers + 1)
        for ended, (one, encoded) in enumerate(ready):
            assert tokenizer.decode(encoded[0].ids) == one.parts[0].name + b" "
            assert len(encoded[1].ids) == 1 << 20
            assert one.parts[0].name == b"%d" % ended
            assert len(begun) - ended <= (1 if workers == 1 else 2 + workers + 1)
    assert len(begun) == 60
    assert threading.current_thread().name in tokenizer.threads
    assert len(tokenizer.threads) <= workers


def test_who_would_wait_does_what_nobody_has_begun():
    others_may_go_on = threading.Event()
    here: list[bytes] = []

    class Stuck(BytesTokenizer):
        def encode(self, pieces: list[bytes]) -> list[Encoded]:
            if threading.current_thread() is not threading.main_thread():
                assert others_may_go_on.wait(60)
            else:
                here.append(pieces[0])
                if len(here) == 4:  # the others can have begun two
                    others_may_go_on.set()
            return super().encode(pieces)

    jobs = (job(number, 10) for number in range(6))
    with closing(Tokenized(jobs, Stuck(), 3, 1 << 20)) as ready:
        assert [one.parts[0].name for one, _ in ready] == [b"%d" % number for number in range(6)]
    assert len(here) >= 4


class Failing(BytesTokenizer):
    def encode(self, pieces: list[bytes]) -> list[Encoded]:
        if pieces[0] == b"7 ":
            raise ZeroDivisionError
        return super().encode(pieces)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_out_where_it_belongs_and_leaves_no_thread(workers, no_thread_stays):
    ended = []
    jobs = (job(number, 10) for number in range(20))
    with pytest.raises(ZeroDivisionError), closing(Tokenized(jobs, Failing(), workers, 1 << 20)) as ready:
        ready.read_ahead()
        for one, _ in ready:
            ended.append(one.parts[0].name)
    assert ended == [b"%d" % number for number in range(7)]


def test_leaving_early_leaves_no_thread(no_thread_stays):
    with closing(Tokenized((job(number, 10) for number in range(10**9)), BytesTokenizer(), 2, 1 << 20)) as ready:
        next(iter(ready))


def test_a_short_input_is_read_ahead_to_its_end(no_thread_stays):
    with closing(Tokenized((job(number, 10) for number in range(3)), BytesTokenizer(), 2, 1 << 20)) as ready:
        ready.read_ahead()
        assert [one.parts[0].name for one, _ in ready] == [b"0", b"1", b"2"]
