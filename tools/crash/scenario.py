"""What does a store live through, and is it what it has to be afterwards?  One short life, the same each time.

    python -m tools.crash.scenario STORE [--acts ACT,…] [--to DESCRIPTOR]

`live` makes a store live through the steps of `tools.crash.story`, in acts that each open it anew, and acknowledges
every step once it has returned; as a program, by a line to a descriptor.  A snapshot that is held through an act has to
read the same in the end; what it has kept stays behind then, for the next writer to take away.

`judge` takes a store and the acknowledged steps.  It must hold exactly what was acknowledged, or that and the whole of
the step that was in flight: compared with the model of `mctree.testing`, which knows nothing of files.  Then somebody
goes on writing to it, and it is judged once more: nothing may be left that only those needed who are gone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import mctree
from mctree.encoders import BytesTokenizer
from mctree.errors import MctreeError
from mctree.format.facts import Stamp
from mctree.format.keys import Table, u32, u64
from mctree.storage.chunks import GENERATIONS_NAME, generation_name
from mctree.storage.files import list_names
from mctree.storage.leases import held_commits
from mctree.storage.store import EPOCHS_NAME
from mctree.testing.checks import Expected, check_snapshot
from mctree.testing.edits import Scribe
from mctree.testing.model import Model, ModelSet
from mctree.testing.stores import scratch
from mctree.tree.retention import KEEP
from tools.crash.holding import holding
from tools.crash.life import Life
from tools.crash.story import ACTS, HELD, KEPT, KEPT_LATER, SETS, STEPS, Step, text

__all__ = ["ACTS", "LIFE", "STEPS", "Moment", "Step", "judge", "live", "look_in", "reference", "settle"]

CHUNK_BYTES = 1 << 16
_COLLECT_EVERY = 16
_STAMPED = b"report", b"notes", b"book"


@dataclass(frozen=True, slots=True)
class Moment:
    """A state in which the store may be found.

    Attributes:
        name: the step that led to it.
        number: of its commit.
        expected: what it holds.
        stamps: what it remembers of inputs, whichever commit is looked at.
        keep: how many commits it keeps.
    """

    name: str
    number: int
    expected: Expected
    stamps: dict[bytes, Stamp]
    keep: int


def live(path: str, acknowledge: Callable[[str], None], acts: Sequence[str] = ACTS) -> None:
    """Let the store at `path` live through some acts, consecutive ones, the first of which finds what came before.

    Args:
        path: where it is, or where the first act makes it.
        acknowledge: called with a step's name when that has returned.
        acts: which.
    """
    for act, steps in groupby((step for step in STEPS if step.act in acts), key=lambda step: step.act):
        with (_created if act == "creation" else _opened)(path) as tree, holding(tree, HELD.get(act)):
            for is_commit, together in groupby(steps, key=lambda step: step.kind in ("commit", "jot")):
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
    return mctree.create(path, chunk_bytes=CHUNK_BYTES, keep=KEPT, encoders=SETS.values())


def _opened(path: str) -> mctree.Tree:
    return mctree.open(path, encoders=SETS.values())


def _commit(scribe: Scribe, step: Step) -> None:
    for edit in step.edits:
        scribe.do(edit)
    for item, stamp in step.stamps:
        scribe.writer.stamp(item, stamp)
    if step.kind == "jot":
        scribe.writer.keep_stamps()
        return
    if step.link is not None:
        scribe.writer.link(step.link.source, step.link.target, kind=step.link.kind, score=step.link.score)
    if step.unlink is not None:
        scribe.writer.unlink(step.unlink)
    scribe.writer.commit(gists=step.gists)


def _manage(tree: mctree.Tree, step: Step) -> None:
    match step.kind:
        case "keep":
            tree.keep(KEPT_LATER)
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
    moments, stamps, keep = [], dict[bytes, Stamp](), KEPT
    for step, number in zip(STEPS, numbers, strict=True):
        _foretell(model, step, number)
        stamps = {item: stamp for item, stamp in {**stamps, **dict(step.stamps)}.items() if stamp is not None}
        keep = KEPT_LATER if step.kind == "keep" else keep
        moments.append(Moment(step.name, number, Expected(model.commits[number]), stamps, keep))
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
        case "create" | "jot":
            return
        case "keep":
            pass
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
        at_it = [one for one in possible if one.number == newest]
        assert at_it, f"its newest commit is {newest}, not {' or '.join(str(m.number) for m in possible)}"
        stamps, keep = _beside(tree)
        # What is written without a commit tells two moments apart.
        moment = next((one for one in at_it if one.stamps == stamps), None)
        assert moment is not None, f"of inputs it remembers {stamps}, not {' or '.join(str(m.stamps) for m in at_it)}"
        assert keep == moment.keep, f"it keeps {keep} commits, not {moment.keep}"
        assert epoch == moment.expected.state.epoch, f"commit {newest} is of epoch {epoch}"
        _verify(tree)
        with tree.snapshot() as snapshot:
            check_snapshot(snapshot, moment.expected)
        for one in known[: known.index(moment)]:
            if one.expected.state.epoch == epoch:
                assert one.number in commits or _may_be_gone(one, newest), f"commit {one.number} is gone"
                if one.number in commits:
                    with tree.snapshot(one.number) as snapshot:
                        _compare_documents(snapshot, _documents(one))
    return moment


def _beside(tree: mctree.Tree) -> tuple[dict[bytes, Stamp], int]:
    """What a store remembers of inputs, and how many commits it keeps."""
    with tree.snapshot() as snapshot, snapshot.reading() as index:
        found = {item: stamp for item in _STAMPED if (stamp := snapshot.stamp(item)) is not None}
        setting = index.version(Table.SETTING, KEEP, snapshot.commit)
        assert setting is not None, "it does not know how many commits it keeps"
        return found, int(u32.unpack(setting)[0])


def _may_be_gone(moment: Moment, newest: int) -> bool:
    """Whether a commit was collected, by one of those with which commits are, if there is one up to the newest."""
    for number in range(_COLLECT_EVERY, newest + 1, _COLLECT_EVERY):
        keep = next(one.keep for one in reference() if one.number >= number)
        if moment.number <= number - keep:
            return True
    return False


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
    with mctree.open(path, writable=False) as tree:
        at = tree.store.at
        held, older = held_commits(at), list_names(EPOCHS_NAME, at)
        assert held == set(), f"commits {held} are held by nobody who lives"
        assert not older, f"the older epochs {older} were left in it"
        with tree.store.reading() as index:
            known = {_generation(key) for key, _ in index.scan(Table.CHUNK)}
        unknown = sorted({f"{GENERATIONS_NAME}/{name}" for name in list_names(GENERATIONS_NAME, at)} - known)
        assert not unknown, f"{unknown} were left in it"


def _generation(key: bytes) -> str:
    """What a file is called that holds the generation of a chunk of which there is a record."""
    return generation_name(u32.unpack(key[:4])[0], u64.unpack(key[4:12])[0], u64.unpack(key[12:])[0])


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
