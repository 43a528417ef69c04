"""What does a store live through, and is it what it has to be afterwards?  One short life, the same each time.

    python -m tools.crash.scenario STORE [--acts ACT,…] [--to DESCRIPTOR]

`STEPS` are creation, appends, streams with tails, gist sets that are built, refreshed and dropped, documents that are
superseded and removed, links, collection and compaction, in acts that each open the store anew.  `live` makes a store
live through them and acknowledges every step once it has returned; as a program, by a line to a descriptor.

`judge` takes a store and the acknowledged steps.  It must hold exactly what was acknowledged, or that and the whole of
the step that was in flight: compared with the model of `mctree.testing`, which knows nothing of files.  Then somebody
goes on writing to it, and it is judged once more.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Literal

import numpy as np

import mctree
from mctree.encoders import BytesTokenizer
from mctree.errors import MctreeError
from mctree.testing.checks import Expected, check_snapshot
from mctree.testing.edits import Edit, Scribe
from mctree.testing.model import Model, ModelLink, ModelSet
from mctree.testing.stores import scratch
from mctree.testing.toys import ToyEncoder
from tools.crash.life import Life

__all__ = ["ACTS", "LIFE", "STEPS", "Moment", "Step", "judge", "live", "look_in", "reference", "settle"]

CHUNK_BYTES = 1 << 16
KEEP = 3
SETS = {"toy": ToyEncoder(dim=64), "small": ToyEncoder(dim=4, seed=1)}
"""A gist of `toy` takes 256 bytes, so that 256 of them fill a chunk."""

Kind = Literal["create", "commit", "build", "refresh", "choose", "drop", "compact"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done between two acknowledgements.

    Attributes:
        act: steps of one act are done with one open tree; consecutive commits among them by one writer.
        name: what it is acknowledged as.
        kind: what is done.
        edits: for a commit: edits before it.
        link: for a commit: two spans to link.
        unlink: for a commit: the number of a link to end.
        gists: for a commit: whether it makes gists (see `Writer.commit`).
        gist_set: which set is built, refreshed, chosen or dropped.
    """

    act: str
    name: str
    kind: Kind = "commit"
    edits: tuple[Edit, ...] = ()
    link: ModelLink | None = None
    unlink: int | None = None
    gists: bool = True
    gist_set: str = "toy"


@dataclass(frozen=True, slots=True)
class Moment:
    """A state in which the store may be found.

    Attributes:
        name: the step that led to it.
        number: of its commit.
        expected: what it holds.
    """

    name: str
    number: int
    expected: Expected


def text(seed: int, size: int) -> bytes:
    """So many bytes of letters and blanks."""
    letters = np.frombuffer(b"abcdefgh ijklmno pqrstuvw\n", np.uint8)
    return np.random.default_rng(seed).choice(letters, size).tobytes()


def _steps() -> Iterator[Step]:
    yield Step("creation", "created", "create")

    added = (Edit("add", b"report", text(1, 180 * 32 - 7)), Edit("add", b"empty"), Edit("add", b"notes", text(2, 70)))
    yield Step("append", "first documents", edits=added)
    yield Step("append", "two more", edits=(Edit("add", b"log", text(3, 60 * 32)), Edit("add", b"raw", b"\xff\0" * 50)))

    yield Step("gists", "toy built", "build")
    grown = (Edit("add", b"book", text(4, 40 * 32 + 5)), Edit("begin", b"chat/a"), Edit("write", b"chat/a", text(5, 9)))
    yield Step("gists", "gists in a second chunk", edits=grown)

    yield Step(
        "stream", "b begins", edits=(Edit("begin", b"chat/b"), Edit("write", b"chat/b", text(6, 31))), gists=False
    )
    for i in range(6):
        said = (Edit("write", b"chat/a", text(10 + i, 11)), Edit("write", b"chat/b", text(20 + i, 3 + 13 * i)))
        yield Step("stream", f"words {i}", edits=said, gists=i % 2 == 1)
    yield Step("stream", "b ends", edits=(Edit("close", b"chat/b"),))

    replaced = (Edit("add", b"notes", text(30, 90), replace=True), Edit("remove", b"log"))
    spans = ModelLink((0, 640), (6000, 6500), "about", 0.5)
    yield Step("supersede", "notes replaced, log removed", edits=replaced, link=spans)
    yield Step("supersede", "raw replaced", edits=(Edit("add", b"raw", text(31, 40 * 32), replace=True),), gists=False)
    yield Step("supersede", "another link", link=ModelLink((100, 101), (64, 4000), "see", 1.0))

    yield Step("refresh", "toy refreshed", "refresh")
    yield Step("refresh", "book replaced", edits=(Edit("add", b"book", text(32, 35 * 32), replace=True),), unlink=1)
    yield Step("refresh", "toy refreshed again", "refresh")

    yield Step("sets", "small built", "build", gist_set="small")
    yield Step("sets", "small chosen", "choose", gist_set="small")
    yield Step("sets", "toy dropped", "drop")
    yield Step("sets", "empty removed", edits=(Edit("remove", b"empty"),))
    yield Step("sets", "small refreshed", "refresh", gist_set="small")

    # Past commits 16 and 32, with which older ones are condemned and freed.
    for i in range(10):
        yield Step(
            "collection", f"last words {i}", edits=(Edit("write", b"chat/a", text(40 + i, 37)),), gists=i % 3 == 0
        )

    yield Step("compaction", "compacted", "compact")
    yield Step(
        "afterwards", "an epilogue", edits=(Edit("add", b"epilogue", text(60, 20 * 32)), Edit("close", b"chat/a"))
    )
    yield Step("afterwards", "report replaced", edits=(Edit("add", b"report", text(61, 32 * 32), replace=True),))
    yield Step("afterwards", "small refreshed after all", "refresh", gist_set="small")


STEPS: tuple[Step, ...] = tuple(_steps())
ACTS: tuple[str, ...] = tuple(dict.fromkeys(step.act for step in STEPS))


def live(path: str, acknowledge: Callable[[str], None], acts: Sequence[str] = ACTS) -> None:
    """Let the store at `path` live through some acts, consecutive ones, the first of which finds what came before.

    Args:
        path: where it is, or where the first act makes it.
        acknowledge: called with a step's name when that has returned.
        acts: which.
    """
    for act, steps in groupby((step for step in STEPS if step.act in acts), key=lambda step: step.act):
        with (_created if act == "creation" else _opened)(path) as tree:
            for is_commit, together in groupby(steps, key=lambda step: step.kind == "commit"):
                if is_commit:
                    with closing(tree.writer()) as writer:
                        scribe = Scribe(writer)
                        for step in together:
                            _commit(scribe, step)
                            acknowledge(step.name)
                else:
                    for step in together:
                        _manage(tree, step)
                        acknowledge(step.name)


def _created(path: str) -> mctree.Tree:
    return mctree.create(path, chunk_bytes=CHUNK_BYTES, keep=KEEP, encoders=SETS.values())


def _opened(path: str) -> mctree.Tree:
    return mctree.open(path, encoders=SETS.values())


def _commit(scribe: Scribe, step: Step) -> None:
    for edit in step.edits:
        scribe.do(edit)
    if step.link is not None:
        scribe.writer.link(step.link.source, step.link.target, kind=step.link.kind, score=step.link.score)
    if step.unlink is not None:
        scribe.writer.unlink(step.unlink)
    scribe.writer.commit(gists=step.gists)


def _manage(tree: mctree.Tree, step: Step) -> None:
    match step.kind:
        case "build":
            tree.build_gists(SETS[step.gist_set], step.gist_set, dtype="float32")
        case "refresh":
            tree.refresh_gists(step.gist_set)
        case "choose":
            tree.set_default_gists(step.gist_set)
        case "drop":
            tree.drop_gists(step.gist_set)
        case "compact":
            tree.compact()


@cache
def reference() -> tuple[Moment, ...]:
    """What each step leads to: worked out by the model, with the numbers of the commits of an undisturbed life."""
    numbers: list[int] = []
    with scratch() as folder:
        path = os.path.join(folder, "undisturbed")
        live(path, lambda _: numbers.append(_newest(path)))
    model = Model(BytesTokenizer(), BytesTokenizer.vocabulary, numbers[0])
    moments = []
    for step, number in zip(STEPS, numbers, strict=True):
        _foretell(model, step, number)
        moments.append(Moment(step.name, number, Expected(model.commits[number])))
    return tuple(moments)


def look_in(path: str) -> None:
    """Come by as the next writer, if there is a store, and change nothing."""
    if os.path.lexists(path):
        with _opened(path) as tree:
            tree.writer().close()


def _newest(path: str) -> int:
    with mctree.open(path, writable=False) as tree:
        return tree.commits()[-1].number


def _foretell(model: Model, step: Step, number: int) -> None:
    """Do to the model what a step does to a store."""
    sets, blocks, name = model.now.sets, len(model.now.blocks), step.gist_set
    match step.kind:
        case "create":
            return
        case "commit":
            for edit in step.edits:
                model.do(edit)
            if step.link is not None:
                model.link(step.link)
            if step.unlink is not None:
                model.unlink(step.unlink)
            if step.gists:
                model.gists_made()
        case "build":
            sets[name] = replace(sets.get(name) or ModelSet(SETS[name], "float32", 0, model.newest), rows=blocks)
            model.now.default = model.now.default or name
        case "refresh":
            sets[name] = replace(sets[name], refreshed=model.newest)
        case "choose":
            model.now.default = name
        case "drop":
            del sets[name]
            model.now.default = None if model.now.default == name else model.now.default
        case "compact":
            model.compact(number)
            return
    model.commit(number)


def judge(path: str, acknowledged: Sequence[str]) -> list[str]:
    """What is wrong with the store at `path` after a life that was broken off; it is written to in the end.

    Args:
        path: where the store is, if it was made.
        acknowledged: the names of the steps that were acknowledged, from the first on.

    Returns:
        A line for each fault, none if the store is what it has to be.
    """
    assert list(acknowledged) == [step.name for step in STEPS[: len(acknowledged)]], "steps are acknowledged in order"
    if not os.path.lexists(path):
        if acknowledged:
            return ["the store is not there"]
        return _faults("making it again", lambda: _make_again(path))
    found: list[Moment] = []
    problems = _faults("reading", lambda: found.append(_settled(path, len(acknowledged))))
    return problems or _faults("going on", lambda: _go_on(path, found[0]))


def settle(path: str, acknowledged: Sequence[str]) -> None:
    """Make sure that the store at `path` is what was acknowledged, or that and the whole of the step in flight.

    Raises:
        AssertionError: it is not; or what reading it raises.
    """
    _settled(path, len(acknowledged))


def _settled(path: str, done: int) -> Moment:
    """Which moment the store at `path` stands at after so many steps, all of what it shows compared."""
    known = reference()
    possible = known[max(done - 1, 0) : done + 1]
    with mctree.open(path, writable=False, encoders=SETS.values()) as tree:
        commits = {commit.number for commit in tree.commits()}
        newest, epoch = max(commits), tree.epoch
        moment = next((one for one in possible if one.number == newest), None)
        assert moment is not None, f"its newest commit is {newest}, not {' or '.join(str(m.number) for m in possible)}"
        assert epoch == moment.expected.state.epoch, f"commit {newest} is of epoch {epoch}"
        _verify(tree)
        with tree.snapshot() as snapshot:
            check_snapshot(snapshot, moment.expected)
        for one in known[: known.index(moment)]:
            if one.expected.state.epoch == epoch:
                assert one.number in commits or one.number <= newest - KEEP, f"commit {one.number} is gone"
                if one.number in commits:
                    with tree.snapshot(one.number) as snapshot:
                        _compare_documents(snapshot, _documents(one))
    return moment


def _go_on(path: str, moment: Moment) -> None:
    """Write to the store, and look whether all is there and nothing is left over."""
    added = text(99, 33 * 32)
    with _opened(path) as tree:
        with tree.writer() as writer:
            writer.add(b"after the crash", added)
        for name in moment.expected.state.sets:
            tree.refresh_gists(name)
        _verify(tree)
        with tree.snapshot() as snapshot:
            _compare_documents(snapshot, {**_documents(moment), b"after the crash": added})
    _compare_leftovers(path)


def _make_again(path: str) -> None:
    _created(path).close()
    _settled(path, 1)
    _compare_leftovers(path)


def _documents(moment: Moment) -> dict[bytes, bytes]:
    return {document.source: document.data for document in moment.expected.state.documents.values()}


def _compare_documents(snapshot: mctree.Snapshot, wanted: dict[bytes, bytes]) -> None:
    found = {document.source: document.read() for document in snapshot.documents()}
    wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    assert not wrong, f"commit {snapshot.commit} holds other bytes of {wrong}"


def _compare_leftovers(path: str) -> None:
    beside = sorted(
        name for name in os.listdir(os.path.dirname(path)) if name.startswith(f".{os.path.basename(path)}.")
    )
    assert not beside, f"{beside} was left beside it"
    halves = [name for _, _, names in os.walk(path) for name in names if name.endswith(".new")]
    assert not halves, f"{halves} was left in it"


def _verify(tree: mctree.Tree) -> None:
    problems = [f"{problem.where} {problem.what}" for problem in tree.verify()]
    assert not problems, f"verify finds {len(problems)} problems: {'; '.join(problems[:3])}"


def _faults(doing: str, what: Callable[[], object]) -> list[str]:
    try:
        what()
    except (AssertionError, MctreeError, OSError) as error:
        return [f"{doing}: {type(error).__name__}: {error}"]
    return []


LIFE = Life(
    ACTS,
    tuple((step.act, step.name) for step in STEPS),
    live,
    judge,
    settle,
    look_in,
    reference,
    tuple(SETS.values()),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m tools.crash.scenario", description=__doc__.split("\n")[0])
    parser.add_argument("store", help="where the store is, or where it is made")
    parser.add_argument("--acts", default=",".join(ACTS), help="which acts, with commas between; by default all")
    parser.add_argument("--to", type=int, default=1, help="the descriptor that a line is written to for each step")
    options = parser.parse_args(arguments)
    live(options.store, lambda name: _say(options.to, name), [act for act in ACTS if act in options.acts.split(",")])


def _say(to: int, name: str) -> None:
    os.write(to, name.encode() + b"\n")


if __name__ == "__main__":
    main()
