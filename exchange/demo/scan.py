"""A search of what the hub holds for raw identifiers.

Invariants: every identifier is looked for as text, as hexadecimal, in Base64 at each of its three alignments,
as UTF-16 and as its plain SHA-256, whose few possible inputs make it as good as the identifier; a file is
read in pieces that overlap, so that no occurrence falls between two; only files are read, so what is found is
what anybody holding the disk would find.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ahocorasick

_PIECE = 1 << 24
# A hash is recognised by this many of its bytes, which keeps the automaton small and chance far away.
_HASH_BYTES = 12


@dataclass
class Findings:
    """How much was read, and for each identifier found the files it was in and the forms it had there."""

    files: int = 0
    bytes_read: int = 0
    found: dict[str, set[tuple[Path, str]]] = field(default_factory=dict)


def search(files: Iterable[Path], identifiers: Iterable[str]) -> Findings:
    """Look for each of `identifiers` (ASCII, at least 11 characters) in every form in every one of `files`.

    Raises OSError where a file can't be read.
    """
    automaton = ahocorasick.Automaton()
    longest = 1
    for identifier in identifiers:
        for form, pattern in forms(identifier):
            # latin-1 maps bytes to characters one to one; the automaton takes strings only.
            automaton.add_word(pattern.decode("latin-1"), (identifier, form, len(pattern)))
            longest = max(longest, len(pattern))
    findings = Findings()
    if not len(automaton):
        return findings
    automaton.make_automaton()
    for path in files:
        findings.files += 1
        for text, fresh in _pieces(path, longest + 1):
            findings.bytes_read += fresh
            for last, (identifier, form, length) in automaton.iter(text):
                if form != "national" or not _flanked_by_digits(text, last - length + 1, last):
                    findings.found.setdefault(identifier, set()).add((path, form))
    return findings


def forms(identifier: str) -> Iterator[tuple[str, bytes]]:
    """The ways one identifier may be written down, each with its name.

    A phone number, which starts with "+86", is also looked for without its country code where no other digit
    stands beside it: any eleven digits in a row would soon be somebody's number.
    """
    raw = identifier.encode("ascii")
    core = raw
    if raw.startswith(b"+86"):
        core = raw.removeprefix(b"+86")
        yield "text", raw.removeprefix(b"+")
        yield "national", core
    else:
        yield "text", raw
        if raw.lower() != raw:
            yield "text", raw.lower()
    yield "hexadecimal", core.hex().encode()
    if core.hex().upper() != core.hex():
        yield "hexadecimal", core.hex().upper().encode()
    for skip in range(3):
        # Of n bytes after `skip` others, only the characters made of these bytes alone are always the same.
        encoded = base64.b64encode(bytes(skip) + core)
        first = -(-skip * 4 // 3)
        last = (skip + len(core)) * 8 // 6
        yield "base64", encoded[first:last]
    # Without its last zero byte the little-endian form is part of the big-endian one too.
    yield "utf-16", core.decode().encode("utf-16-le")[:-1]
    for text in {raw, core}:
        digest = hashlib.sha256(text).digest()
        yield "sha-256", digest[:_HASH_BYTES]
        yield "sha-256", digest.hex().encode()[: 2 * _HASH_BYTES]


def files_below(*places: Path) -> list[Path]:
    """Every regular file that is one of `places` or lies below one; sorted, each once."""
    found: set[Path] = set()
    for place in places:
        found.update([place] if place.is_file() else (path for path in place.rglob("*") if path.is_file()))
    return sorted(found)


def _pieces(path: Path, overlap: int) -> Iterator[tuple[str, int]]:
    """The file piece by piece, each after the last `overlap` characters before it, and its new bytes."""
    tail = ""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            text = tail + piece.decode("latin-1")
            yield text, len(piece)
            tail = text[-overlap:]


def _flanked_by_digits(text: str, first: int, last: int) -> bool:
    before, after = text[first - 1 : first], text[last + 1 : last + 2]
    return before.isdigit() or after.isdigit()
