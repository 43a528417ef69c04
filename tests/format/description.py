"""What does a commit hold, in words that stay the same for ever?  An object of JSON, told by either reader.

The objects of a store that an old version wrote are kept beside it; both readers have to tell the same of it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from mctree.geometry import IMAGE
from mctree.tree import Snapshot
from mctree.tree.images.image import Image
from tests.format import reader

SHORT = 200
"""Bytes of documents up to which they are written out."""


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def told(snapshot: Snapshot) -> dict[str, Any]:
    """What mctree tells of a commit."""
    documents = {
        str(one.id): {
            "source": one.source.hex(),
            "open": one.open,
            "size": one.size,
            "previous": one.previous,
            "locator": one.locator,
            "runs": [[run.block, run.blocks] for run in one.runs],
            "ends": [int(snapshot.block_records(run.block, run.blocks)["stop"][-1]) for run in one.runs],
            "tail": []
            if one.tail is None
            else [[int(t), int(s)] for t, s in zip(one.tail.tokens, one.tail.stops, strict=True)],
            "tokens": digest(one.read_tokens().astype("<u4").tobytes()),
            "bytes": one.read().hex() if one.size <= SHORT else digest(one.read()),
        }
        for one in snapshot.documents()
    }
    sets = {}
    for view in snapshot.gist_sets():
        levels = range(1, view.levels + 1)
        rows = {level: np.arange(view.rows(level)) for level in levels}
        sets[view.name] = {
            "dim": view.dim,
            "dtype": view.record.dtype,
            "rows": [len(rows[level]) for level in levels],
            "gists": [digest(view.gather(level, rows[level]).tobytes()) for level in levels],
            "stale": [
                [level, node] for level in levels for node in np.flatnonzero(view.stale(level, rows[level])).tolist()
            ],
        }
    nodes = {}
    for level in range(1, snapshot.top + 1):
        found = np.flatnonzero(snapshot.world.exists(level, np.arange(snapshot.blocks // 32 ** (level - 1))))
        counts = snapshot.world.tokens(level, found)
        nodes[str(level)] = [len(found), *counts.tolist()[: 60 if level > 1 else 0]]
    images = {str(image.id): told_of_image(snapshot, image) for image in snapshot.images()}
    return {
        **({"images": images} if images else {}),
        "blocks": snapshot.blocks,
        "tokens": snapshot.tokens_count,
        "lod0": digest(snapshot.tokens(0, snapshot.positions).tobytes()),
        "nodes": nodes,
        "documents": documents,
        "sets": sets,
        "default": snapshot.default_gists,
        "links": {
            str(link.id): [list(link.source), list(link.target), link.kind, link.score]
            for link in snapshot.links(0, 1 << 62)
        },
    }


def told_of_image(snapshot: Snapshot, image: Image) -> dict[str, Any]:
    """What mctree tells of an image."""
    record = image.record
    levels = []
    for level in range(image.root + 1):
        index = image.first(level) + np.arange(IMAGE.width(image.root) // IMAGE.width(level))
        index = index[image.find(level, index).present]
        found = image.statistics(level, index)
        gists = {}
        for view in snapshot.gist_sets():
            vectors, there = image.gists(level, index, view.name)
            if there.any():
                gists[view.name] = [int(there.sum()), digest(vectors[there].tobytes())]
        sums = np.concatenate([found.pixels[:, None], found.sums, found.squares], axis=1)
        levels.append([len(index), digest(index.astype("<i8").tobytes()), digest(sums.tobytes()), gists])
    fields = ("uri", "height", "width", "channels", "dtype", "base", "level", "kept")
    told = {"block": image.block, **{name: getattr(record, name) for name in fields}, "levels": levels}
    told["region"] = list(record.region)
    if record.kept:
        pixels = image.pixels()
        told["pixels"] = [digest(pixels.values.tobytes()), digest(pixels.real().tobytes())]
    return told


def told_of_graft(snapshot: reader.Snapshot, graft: reader.Graft) -> dict[str, Any]:
    """What the reader that was written from the page tells of an image."""
    record = snapshot.image(graft.document)
    levels = []
    for level, array in enumerate(snapshot.statistics(graft.channels)[: graft.level + 1]):
        nodes = snapshot.nodes(graft, level, array)
        rows = np.array(list(nodes.values())).reshape(-1, (8 if level else 1) + 2 * graft.channels)
        gists = {}
        for gist_set in snapshot.gist_sets().values():
            if level < len(gist_set.get("images", [])):
                vectors = snapshot.nodes(graft, level, gist_set["images"][level])
                if vectors:
                    gists[gist_set["name"]] = [len(vectors), digest(np.array(list(vectors.values())).tobytes())]
        sums = np.concatenate([rows[:, :1], rows[:, 8 if level else 1 :]], axis=1)
        levels.append([len(nodes), digest(np.array([*nodes], "<i8").tobytes()), digest(sums.tobytes()), gists])
    fields = ("uri", "height", "width", "channels", "dtype", "base", "level", "kept")
    told = {"block": graft.block, **{name: record[name] for name in fields}, "levels": levels}
    told["region"] = record["region"]
    if record["kept"]:
        values, real = snapshot.pixels(graft)
        told["pixels"] = [digest(values.tobytes()), digest(real.tobytes())]
    return told


def told_by_reader(snapshot: reader.Snapshot) -> dict[str, Any]:
    """What the reader that was written from the page tells of a commit."""
    documents = {}
    for number, record in snapshot.documents().items():
        runs: list[list[int]] = []
        ends: list[int] = []
        for block, (_, stop) in zip(snapshot.blocks_in(number), snapshot.ranges(number), strict=True):
            if runs and sum(runs[-1]) == block:
                runs[-1][1] += 1
                ends[-1] = stop
            else:
                runs.append([block, 1])
                ends.append(stop)
        tail, data = snapshot.tail(number), snapshot.read(number)
        documents[str(number)] = {
            "source": record["source"].hex(),
            "open": record["open"],
            "size": snapshot.size(number),
            "previous": record["previous"],
            "locator": record["locator"],
            "runs": runs,
            "ends": ends,
            "tail": [[token, stop] for token, stop in zip(tail.tokens, tail.stops, strict=True)],
            "tokens": digest(np.array(snapshot.tokens(number), "<u4").tobytes()),
            "bytes": data.hex() if len(data) <= SHORT else digest(data),
        }
    sets, names = {}, {}
    for number, record in snapshot.gist_sets().items():
        names[number] = record["name"]
        gists = [snapshot.gists(number, level) for level in range(1, len(record["levels"]) + 1)]
        gists = [rows for rows in gists if len(rows)]
        sets[record["name"]] = {
            "dim": record["dim"],
            "dtype": record["dtype"],
            "rows": [len(rows) for rows in gists],
            "gists": [digest(rows.tobytes()) for rows in gists],
            "stale": [
                [level, node]
                for level, rows in enumerate(gists, 1)
                for node in range(len(rows))
                if snapshot.stale(number, level, node)
            ],
        }
    nodes: dict[str, list[int]] = {}
    level, n = 1, snapshot.blocks
    while n:
        found = [node for node in range(n) if snapshot.exists(level, node)]
        counts = [snapshot.token_count(level, node) for node in found[: 60 if level > 1 else 0]]
        nodes[str(level)] = [len(found), *counts]
        level, n = level + 1, n // 32
    default = snapshot.default_set()
    images = {str(graft.document): told_of_graft(snapshot, graft) for graft in snapshot.grafts}
    return {
        **({"images": images} if images else {}),
        "blocks": snapshot.blocks,
        "tokens": snapshot.record["tokens"],
        "lod0": digest(snapshot.lod0.tobytes()),
        "nodes": nodes,
        "documents": documents,
        "sets": sets,
        "default": None if default is None else names[default],
        "links": {
            str(number): [link["source"], link["target"], link["kind"], link["score"]]
            for number, link in snapshot.links().items()
        },
    }
