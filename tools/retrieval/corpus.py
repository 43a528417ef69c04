"""Which text is searched, and which questions are asked of it?

The corpus is every Python source, manual page and text document below some folders, each once; the docstrings are cut
out of the Python sources, and questions are first sentences of them.  A question is kept if it has at least five
words, does not name its module, and no other file's docstring opens with it.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import random
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

__all__ = ["Document", "Question", "corpus_at", "documents", "questions"]

_TEXT = {".txt", ".rst", ".md", ".pod", ".pm", ".c", ".h", ".js", ".html"}
_LARGEST = 4_000_000
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Document:
    """One file: its text without docstrings, and of each one the first sentence and the byte where it stood."""

    name: str
    text: bytes
    docstrings: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Question:
    """What is asked, and the document, and the byte in it, where the answer stands."""

    text: str
    document: int
    offset: int


def corpus_at(places: str) -> list[Document]:
    """Read what `FOLDER[:MEGABYTES],…,!NAME,…` describes: so much of each at most, nothing in folders of a name."""
    parts = places.split(",")
    left_out = [part[1:] for part in parts if part.startswith("!")]
    found: list[Document] = []
    for part in parts:
        if not part.startswith("!"):
            folder, _, megabytes = part.partition(":")
            found += documents([Path(folder)], int(float(megabytes) * 1e6) if megabytes else _NO_LIMIT, left_out)
    return found


def documents(folders: Iterable[Path], limit: int, without: Iterable[str] = ()) -> list[Document]:
    """Read files below the folders, in order of path, until `limit` bytes of text are had from each.

    A file is left out if its content or its name below a package folder was seen before (another version's copy), if
    it is larger than 4 MB, if it is no text, or if it lies in a folder with a name in `without`.
    """
    found: list[Document] = []
    seen: set[bytes] = set()
    unwanted = set(without)
    for folder in folders:
        left = limit
        for path in sorted(folder.rglob("*")):
            if left <= 0:
                break
            if unwanted & set(path.relative_to(folder).parts):
                continue
            raw = _content(path)
            if raw is None:
                continue
            place = "/".join(_below_package(path.relative_to(folder)))
            marks = {hashlib.sha256(raw).digest(), place.encode()}
            if marks & seen:
                continue
            seen |= marks
            document = _document(place, raw)
            if document.text.strip():
                found.append(document)
                left -= len(document.text)
    return found


def questions(corpus: list[Document], count: int, seed: int) -> list[Question]:
    """Draw questions, at most two of one document."""
    homes: dict[str, set[int]] = {}
    for number, document in enumerate(corpus):
        for sentence, _ in document.docstrings:
            homes.setdefault(sentence.casefold(), set()).add(number)
    draw = random.Random(seed)
    candidates: list[Question] = []
    for number, document in enumerate(corpus):
        good = [
            Question(sentence, number, offset)
            for sentence, offset in document.docstrings
            if len(homes[sentence.casefold()]) == 1 and _asks(sentence, document.name)
        ]
        candidates += draw.sample(good, min(2, len(good)))
    draw.shuffle(candidates)
    return candidates[:count]


def _asks(sentence: str, name: str) -> bool:
    """Whether a sentence is a question about its module that does not give the module's name away."""
    words = re.findall(r"[a-z]+", sentence.casefold())
    module = [part for part in re.split(r"[/._\d]+", name.casefold()) if len(part) > 1 and part not in ("py", "init")]
    return len(words) >= 5 and ">>>" not in sentence and not set(module[-2:]) & set(words)


def _below_package(path: Path) -> tuple[str, ...]:
    parts = path.parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return parts[parts.index(marker) + 1 :]
    return parts


def _content(path: Path) -> bytes | None:
    kind = path.suffixes[-2:-1] if path.suffix == ".gz" else path.suffixes[-1:]
    wanted = kind and (kind[0] in _TEXT or kind[0] == ".py" or re.fullmatch(r"\.[1-9][a-z]*", kind[0]))
    if path.suffix == ".gz" and path.name.startswith("changelog"):
        wanted = True
    if not wanted or path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        raw.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    return raw if len(raw) <= _LARGEST and b"\0" not in raw else None


def _document(name: str, raw: bytes) -> Document:
    if not name.endswith(".py"):
        return Document(name, raw, ())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(raw)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Document(name, raw, ())
    lines = re.findall(r"[^\n]*\n|[^\n]+", raw.decode("utf-8"))
    cut: list[tuple[str, int]] = []
    for expression in _docstrings(tree):
        assert isinstance(expression.value, ast.Constant)
        cut.append((_first_sentence(str(expression.value.value)), expression.lineno - 1))
        for line in range(expression.lineno - 1, min(expression.end_lineno or 0, len(lines))):
            lines[line] = ""
    offsets = [0, *accumulate(len(line.encode()) for line in lines)]
    docstrings = tuple((sentence, offsets[line]) for sentence, line in cut if sentence)
    return Document(name, "".join(lines).encode(), docstrings)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first


def _first_sentence(docstring: str) -> str:
    paragraph = docstring.strip().split("\n\n")[0]
    return " ".join(re.split(r"(?<=[.!?])\s", paragraph)[0].split())[:300]
