"""An evidence folder: what a member or an auditor has collected of a log, for `verify` to check offline.

    genesis.note              the first roster version as first seen; the trust anchor comes from elsewhere
    rosters/0001.note …       every roster version
    rulebook.json             the rulebook in force
    checkpoint                the newest checkpoint whose leaves are all here
    checkpoints/*.checkpoint  every checkpoint ever seen; two of one size are kept side by side
    tile/…                    the leaves as tlog-tiles entry bundles, and the tree over them
    openings.jsonl            an `Opening` a line, in any order; a later line may open more of the same entry
    disclosures/*.json        a `SignalDisclosure` each
    receipts/*.json           a `HeldReceipt` each: what the hub acknowledged, with what was sent

Invariants: nothing collected is overwritten by something that says otherwise; files are written whole or not
at all and a line cut off by a crash is removed when writing goes on, so that collecting is resumed by doing
it again. What stands in the folder is unverified: nothing here is checked but its form.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from signalexchange.checkpoint import Checkpoint
from signalexchange.documents import Base64, Document, Record
from signalexchange.entries import OPENING_SIZE
from signalexchange.envelope import SignalDisclosure
from signalexchange.errors import MalformedError
from signalexchange.merkle import MAX_SIZE
from signalexchange.note import split_note
from signalexchange.tiles import TileFolder, read_file, write_file

Index = Annotated[int, Field(strict=True, ge=0, lt=MAX_SIZE)]
OpeningBytes = Annotated[Base64, Field(min_length=OPENING_SIZE, max_length=OPENING_SIZE)]

AnyDocument = TypeVar("AnyDocument", bound=Document)


class Opening(Record):
    """Header and, where the collector may see it, payload of entry `index`, each with its 32-byte opening."""

    index: Index
    header: Base64
    header_opening: OpeningBytes
    payload: Base64 | None = None
    payload_opening: OpeningBytes | None = None

    @classmethod
    def parse(cls, line: bytes) -> "Opening":
        """Read a line of openings.jsonl; raises MalformedError."""
        try:
            opening = cls.model_validate_json(line)
        except ValidationError as error:
            raise MalformedError(f"opening: {error.errors(include_url=False)[0]['msg']}") from None
        if (opening.payload is None) != (opening.payload_opening is None):
            raise MalformedError("opening: payload and payload_opening come together")
        return opening


class HeldReceipt(Document):
    """A receipt: the hub says that `statement` (the bytes of a batch's, an order's or a report's; empty for
    other requests) stands at `index` of the tree whose checkpoint, a signed note, came with it.
    """

    index: Index
    checkpoint: Base64
    statement: Base64


class EvidenceFolder:
    """Writes an evidence folder, made where it lacks. One process at a time.

    Raises MalformedError for notes and documents that are none.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._tiles = TileFolder(folder)
        self._openings = folder / "openings.jsonl"
        _cut_unfinished_line(self._openings)

    @property
    def size(self) -> int:
        """How many leaves are here: the index of the next one to fetch."""
        return self._tiles.size

    def append_leaves(self, leaves: Iterable[bytes]) -> None:
        """Add the leaves that follow those here."""
        self._tiles.append(leaves)

    def add_checkpoint(self, note: bytes) -> None:
        """Keep a checkpoint; it becomes the folder's newest when its leaves are all here.

        So call it when the checkpoint is seen, and again when its leaves have been appended.
        """
        checkpoint = _checkpoint(note)
        path = self.folder / "checkpoints" / f"{checkpoint.size}.checkpoint"
        if path.exists() and split_note(read_file(path))[0] != checkpoint.text():
            # Two texts of one size are the proof of a fork: keep both.
            digest = sha256(checkpoint.text().encode()).hexdigest()
            path = path.with_name(f"{checkpoint.size}-{digest[:16]}.checkpoint")
        # The same text comes again with more cosignatures, never with fewer that matter.
        if not path.exists() or path.stat().st_size < len(note):
            write_file(path, note)
        newest = self.folder / "checkpoint"
        here = _checkpoint(read_file(newest)).size if newest.exists() else 0
        if here <= checkpoint.size <= self.size:
            write_file(newest, note)

    def add_roster(self, version: int, note: bytes) -> None:
        """Keep roster version 1, 2, …; raises MalformedError when another text is here under that number."""
        path = self.folder / "rosters" / f"{version:04}.note"
        text = split_note(note)[0]
        if path.exists() and split_note(read_file(path))[0] != text:
            raise MalformedError(f"roster version {version} differs from the one collected before")
        write_file(path, note)
        if version == 1 and not (self.folder / "genesis.note").exists():
            write_file(self.folder / "genesis.note", note)

    def set_rulebook(self, rulebook: bytes) -> None:
        """Keep the rulebook that belongs to the newest roster version."""
        write_file(self.folder / "rulebook.json", rulebook)

    def add_openings(self, openings: Iterable[Opening]) -> None:
        """Append openings; durable when it returns."""
        with self._openings.open("ab") as file:
            for opening in openings:
                file.write(opening.model_dump_json(exclude_none=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def add_disclosure(self, disclosure: SignalDisclosure) -> None:
        """Keep the disclosure of one signal."""
        self._add("disclosures", disclosure)

    def add_receipt(self, receipt: HeldReceipt) -> None:
        """Keep a receipt."""
        self._add("receipts", receipt)

    def _add(self, kind: str, document: Document) -> None:
        content = document.text().encode()
        write_file(self.folder / kind / f"{sha256(content).hexdigest()[:32]}.json", content)


def read_openings(folder: Path) -> Iterator[tuple[int, Opening | MalformedError]]:
    """Line number, from 1, and content of each line of openings.jsonl, or why it is none."""
    path = folder / "openings.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, Opening.parse(line)
            except MalformedError as error:
                yield number, error


def read_documents(
    folder: Path, kind: type[AnyDocument]
) -> Iterator[tuple[str, AnyDocument | MalformedError]]:
    """Name and content of each JSON document of a folder in order of names, or why it is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield path.name, kind.parse(_text(read_file(path)))
        except MalformedError as error:
            yield path.name, error


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None


def _checkpoint(note: bytes) -> Checkpoint:
    return Checkpoint.parse(split_note(note)[0])


def _cut_unfinished_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)
