"""Which faults are planted in copies of the package, for the fuzzer to find, and by which words must each be found?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mctree

__all__ = ["FUZZED", "PlantedForFuzzer"]


@dataclass(frozen=True, slots=True)
class PlantedForFuzzer:
    """A fault in one of the decoders that are fuzzed: the fuzzer loads all modules anew, so it is planted in a copy.

    Attributes:
        name: in words.
        target: which is fuzzed.
        sign: as of any other.
        file: which one of the package.
        sound: what stands there.
        faulty: what is put there instead.
    """

    name: str
    target: str
    sign: str
    file: str
    sound: str
    faulty: str

    def copy(self, folder: Path) -> None:
        """Put a copy of the package that has the fault into a folder.

        Raises:
            ValueError: it does not fit the code.
        """
        package = Path(mctree.__file__).parent
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        file = folder / package.name / self.file
        text = file.read_text("utf-8")
        if text.count(self.sound) != 1:
            raise ValueError(f"{self.file} holds {self.sound!r} {text.count(self.sound)} times, not once")
        file.write_text(text.replace(self.sound, self.faulty), "utf-8")


FUZZED: Final = (
    PlantedForFuzzer(
        "what holds a slash is taken for an address",
        "names",
        "AttributeError: 'NoneType' object has no attribute 'groups'",
        "geometry/address.py",
        'if match is None or match[1] == "0":',
        'if match is None and "/" not in text:',
    ),
    PlantedForFuzzer(
        "a header is read behind its end",
        "picture headers",
        "error: unpack_from requires a buffer of at least 30 bytes",
        "sources/images/stated.py",
        "if len(head) < 30:",
        "if len(head) < 29:",
    ),
)
