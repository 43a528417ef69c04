"""A digest that is found in a thread: it is what it would be here, and nobody waits for one that is not wanted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mctree.errors import SourceError
from mctree.ingest.digesting import Digesting

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def _nothing() -> None:
    pass


def _endless(between: Callable[[], object]) -> bytes:
    while True:
        between()


def test_a_digest_is_told_as_often_as_it_is_asked_for():
    with Digesting(lambda _: b"found") as digesting:
        assert digesting.result(_nothing) == digesting.result(_nothing) == b"found"


def test_what_cannot_be_read_has_none_and_other_errors_are_raised():
    def failing(error: Exception) -> Callable[[Callable[[], object]], bytes]:
        def digest(_: Callable[[], object]) -> bytes:
            raise error

        return digest

    with Digesting(failing(SourceError("it has changed"))) as digesting:
        assert digesting.result(_nothing) == b""
    with Digesting(failing(ZeroDivisionError())) as digesting, pytest.raises(ZeroDivisionError):
        digesting.result(_nothing)


def test_whoever_leaves_ends_it():
    with pytest.raises(KeyError), Digesting(_endless):
        raise KeyError


def test_whoever_waits_hears_of_an_interrupt():
    calls = []

    def between() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Digesting(_endless) as digesting:
        digesting.result(between)
