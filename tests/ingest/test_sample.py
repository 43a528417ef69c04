"""What a sample has of a corpus: a bounded part from everywhere, the same each time."""

from __future__ import annotations

import gzip
import io
import json
import os
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mctree.ingest import sample as sampling
from mctree.ingest.sample import SpooledInput, draw
from mctree.sources import open_source
from tests.ingest.corpora import write


def drawn(root: str, size: int, **options: object) -> bytes:
    return b"\n".join(draw(open_source([root], **options), None, size=size, text_field="text").texts)


def test_a_small_corpus_is_its_own_sample(folder):
    root = os.path.join(folder, "t")
    files = {f"{i}.txt": b"text number %d" % i for i in range(9)}
    write(root, files)
    assert drawn(root, 1 << 20).split(b"\n") == list(files.values())


@pytest.mark.parametrize("kind", ["one file", "files", "records"])
def test_a_large_corpus_gives_a_little_from_everywhere(folder, monkeypatch, kind):
    monkeypatch.setattr(sampling, "_MARKS", 64)
    root, count, size = os.path.join(folder, "t"), 2000, 20_000
    lines = [b"%06d " % i * 80 + b"\n" for i in range(count)]
    if kind == "files":
        write(root, {f"{i:06}.txt": line for i, line in enumerate(lines)})
    elif kind == "one file":
        write(root, {"all.txt": b"".join(lines)})
    else:
        write(root, {"all.jsonl": b"".join(json.dumps({"text": line.decode()}).encode() + b"\n" for line in lines)})
    opened: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: opened.append(n) or pread(fd, n, at))
    text = drawn(root, size)
    assert size // 2 < len(text) <= size + 100
    assert sum(opened) < 2 * size
    found = sorted({int(word) for word in text.split() if word.isdigit() and len(word) == 6})
    gaps = [later - earlier for earlier, later in zip([0, *found], [*found, count], strict=True)]
    assert max(gaps) < count // 10
    assert drawn(root, size) == text


@pytest.mark.parametrize("taken", [True, False])
def test_of_large_files_that_are_no_text_nothing_is_taken_for_some(folder, taken):
    """Found by use: pixels of an uncompressed image hold no zero, and a tokenizer was trained on stretches of them."""
    root = os.path.join(folder, "t")
    pixels = np.full((400, 500, 3), 65, np.uint8)
    head, words = b"\0" * 9000, b"words of a text " * 2000
    write(root, {"a.bin": head + b"B" * 400_000, "t.txt": words})
    Image.fromarray(pixels).save(os.path.join(root, "p.bmp"))
    found = draw(open_source([root], images=taken), None, size=20_000, text_field="text")
    text = b"".join(found.texts)
    assert text and b"AAA" not in text and b"BBB" not in text
    assert found.images == taken


def test_what_only_opens_at_its_start_is_sampled_there(folder):
    root = os.path.join(folder, "t")
    chosen = random.Random(1)
    lines = [json.dumps({"text": f"{i:06} {chosen.randbytes(200).hex()}"}).encode() for i in range(500)]
    write(
        root,
        {"all.jsonl.gz": gzip.compress(b"\n".join(lines)), "b.txt": b"plain" * 900, "c.txt": b"\x1f\x8b, says he" * 50},
    )
    text = drawn(root, 30_000)
    assert text.startswith(b"000000 ")
    assert b"000050 " in text
    assert b"000090 " not in text
    assert b"plain" in text
    assert b"says he" in text


def test_what_cannot_be_read_is_passed_over(folder):
    root = os.path.join(folder, "t")
    write(root, {"a": b"\0\1\2" * 9, "b.jsonl": b"not json\n" * 9, "c.jsonl": b'["a list"]\n', "d": b"text"})
    assert drawn(root, 1000) == b"text"


def test_little_text_among_much_that_is_none_is_found(folder, monkeypatch):
    monkeypatch.setattr(sampling, "_MARKS", 8)
    root = os.path.join(folder, "t")
    images = {f"{i}.png": b"\x89PNG\0" * 5000 for i in range(9)}
    write(root, {**images, "a.txt": b"a text", "z.txt": b"long " * 3000})
    found = drawn(root, 10_000)
    assert found.startswith(b"a text")
    assert b"long" in found
    assert len(found) <= 10_001


@given(st.binary(max_size=60), st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=6))
def test_looking_at_a_stream_takes_nothing_from_it(data, steps):
    stream = SpooledInput(lambda: io.BytesIO(data))
    read = b""
    for peeking, size in steps:
        if peeking:
            assert stream.peek(size) == data[len(read) : len(read) + size]
        else:
            part = stream.read(size)
            assert data[len(read) :].startswith(part) and (part or len(read) == len(data))
            read += part
    while part := stream.read(7):
        read += part
    assert read == data


@pytest.mark.parametrize("records", [True, False])
def test_standard_input_is_sampled_at_its_start_and_handed_on_whole(records):
    text = "".join(f"{i:06} word\n" for i in range(900))
    data = (
        b"".join(json.dumps({"text": line}).encode() + b"\n" for line in text.splitlines())
        if records
        else text.encode()
    )
    spooled = SpooledInput(lambda: io.BytesIO(data))
    source = open_source(["-"], format="jsonl" if records else "text", stdin=spooled)
    sample = draw(source, spooled, size=2000, text_field="text")
    assert sample.total is None
    assert b"000003 word" in b"".join(sample.texts)
    assert b"000800" not in b"".join(sample.texts)
    found = [b"".join(document.read()) for item in source for document in item.documents()]
    assert found == ([line.encode() for line in text.splitlines()] if records else [data])


def test_a_thinned_sample_is_still_from_everywhere():
    sample = sampling.Sample([b"%03d " % i * 25 for i in range(300)], None)
    thin = sample.thinned(3000)
    assert 2000 < sum(map(len, thin)) < 4000
    numbers = [int(text[:3]) for text in thin]
    assert numbers[0] < 20 and numbers[-1] > 280
    assert sample.thinned(10**9) == sample.texts
