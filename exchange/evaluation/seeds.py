"""Which cities are evaluated.

Invariant: no seed evaluated can have been used to set a parameter, because the seeds follow from everything
that was set: whoever changes a rule, a parameter, the gate or the generator gets other cities. Parameters are
tried out on seeds 1 to 19, which are never drawn.
"""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from signalexchange.rulebook import default_text

TUNING: Final = range(1, 20)
_SET: Final = (
    ("signalexchange", "gate"),
    ("exchange", "domain/matching"),
    ("exchange", "scenario"),
)
"""Packages whose every source file counts."""


def digest() -> str:
    """SHA-256 of the rulebook and of the sources of gate, matching and generator."""
    found = sha256(default_text().encode())
    for package, folder in _SET:
        for name, source in _sources(files(package).joinpath(folder), folder):
            found.update(len(source).to_bytes(8, "big") + name.encode() + source)
    return found.hexdigest()


def fresh(count: int) -> list[int]:
    """The seeds to evaluate, each at least 10 and below 2^31 + 10."""
    base = digest()
    drawn = (sha256(f"{base}/{at}".encode()).digest() for at in range(count))
    return [TUNING.stop + int.from_bytes(draw[:4], "big") % 2**31 for draw in drawn]


def _sources(folder: Traversable, path: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            found += _sources(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".py"):
            found.append((f"{path}/{entry.name}", entry.read_bytes()))
    return found
