"""Checks an evidence folder offline: from its files, a trust anchor and witnesses' keys, and nothing else.

Invariants: a thing counts as verified only after every check on it held; what could not be checked is counted
apart; a problem in one entry does not hide those in others. Leaves and openings are streamed: memory grows by
one byte an entry, the ids of the batches and of the matches with the places of their evidence, and the
receipts and disclosures in the folder.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from signalexchange.checkpoint import Checkpoint, open_checkpoint
from signalexchange.cosignature import CosignatureVerifier, cosignatures
from signalexchange.entries import check_leaf
from signalexchange.entry_checks import EntryChecker, EntryOpener, Held
from signalexchange.entry_payloads import parse_header
from signalexchange.envelope import SignalDisclosure
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.evidence import HeldReceipt, read_documents, read_openings
from signalexchange.merkle import Frontier, leaf_hash
from signalexchange.note import split_note
from signalexchange.report import Report
from signalexchange.roster import RosterChain
from signalexchange.tiles import (
    TILE_WIDTH,
    Tile,
    TileBuilder,
    check_tile,
    read_file,
    read_leaves,
    stored_size,
)
from signalexchange.v1.log_entry_pb2 import EntryType, RosterEntry

Progress = Callable[[str, int, int], None]
"""Called with what is being checked ("leaves", "entries"), how many are done and how many there are."""

_HEADER, _PAYLOAD = 1, 2


def verify(
    folder: Path,
    genesis_note: bytes,
    witnesses: Sequence[CosignatureVerifier] = (),
    progress: Progress | None = None,
) -> Report:
    """Check the evidence in `folder` against the trust anchor `genesis_note`.

    Raises MalformedError for a folder without a checkpoint or leaves, and MalformedError or VerificationError
    for an anchor that is none: then there is nothing to report on.
    """
    chain = RosterChain.start(genesis_note)
    if not (folder / "checkpoint").is_file() or stored_size(folder) == 0:
        raise MalformedError("the folder holds no checkpoint with leaves: there is nothing to verify")
    verification = _Verification(folder, chain, witnesses, progress or (lambda what, done, total: None))
    verification.run()
    return verification.report


class _Verification:
    def __init__(
        self, folder: Path, chain: RosterChain, witnesses: Sequence[CosignatureVerifier], progress: Progress
    ) -> None:
        self.folder = folder
        self.chain = chain
        self.witnesses = witnesses
        self.progress = progress
        self.report = Report(chain.current.origin)
        self.held = stored_size(folder)
        # Leaves below `proved` lead to a root that the log signed.
        self.proved = 0
        self.seen: dict[int, dict[bytes, str]] = defaultdict(dict)
        self.proved_roots: set[tuple[int, bytes]] = set()
        self.roster_indices: list[int] = []
        self.receipts: list[Held] = []
        self.disclosures: list[SignalDisclosure] = []

    def run(self) -> None:
        self._rosters()
        self._checkpoints()
        self._documents()
        self._tree()
        self._rosters_on_log()
        self._rulebook()
        self._entries()

    def _rosters(self) -> None:
        """Extend the chain by the versions collected; the first has the anchor's own text."""
        self.report.count("roster_versions")
        paths = sorted((self.folder / "rosters").glob("*.note"), key=lambda path: (len(path.name), path.name))
        first = [path for path in (self.folder / "genesis.note", *paths[:1]) if path.exists()]
        for path in (*first, *paths[1:]):
            try:
                note = read_file(path)
                if path in first:
                    self._check_roster_text(note, 1)
                else:
                    self.chain = self.chain.extend(note)
                    self.report.count("roster_versions")
            except ExchangeError as error:
                self.report.problem("roster_versions", None, f"{path.name}: {error}")
                return

    def _check_roster_text(self, note: bytes, version: int) -> None:
        if split_note(note)[0] != self.chain.versions[version - 1][1].text():
            raise VerificationError(f"is not version {version} of the chain")

    def _checkpoints(self) -> None:
        """Collect the roots the log signed, by size, with where each was seen."""
        newest = self.folder / "checkpoint"
        for path in (newest, *sorted((self.folder / "checkpoints").glob("*.checkpoint"))):
            try:
                note = read_file(path)
                checkpoint = self._open_checkpoint(note)
                cosigned = cosignatures(note, self.witnesses)
            except ExchangeError as error:
                self.report.problem("checkpoints", None, f"{path.name}: {error}")
                continue
            self.seen[checkpoint.size].setdefault(checkpoint.root, path.name)
            if path == newest:
                self.report.size, self.report.root = checkpoint.size, checkpoint.root
                self.report.cosigned = cosigned

    def _open_checkpoint(self, note: bytes) -> Checkpoint:
        """The log's key may have been rotated: a checkpoint by the key of any version is the log's word."""
        verifiers = [roster.log_verifier for _, roster in self.chain.versions]
        text = split_note(note)[0]
        failure = VerificationError("is not signed by the log")
        for verifier in dict.fromkeys(verifiers):
            try:
                return open_checkpoint(note, verifier, self.chain.current.origin)
            except VerificationError as error:
                failure = error
        Checkpoint.parse(text)
        raise failure

    def _documents(self) -> None:
        """Collect disclosures, and receipts with the checkpoints that came with them."""
        for name, disclosure in read_documents(self.folder / "disclosures", SignalDisclosure):
            if isinstance(disclosure, MalformedError):
                self.report.problem("disclosures", None, f"{name}: {disclosure}")
            else:
                self.disclosures.append(disclosure)
        for name, receipt in read_documents(self.folder / "receipts", HeldReceipt):
            try:
                if isinstance(receipt, MalformedError):
                    raise receipt
                checkpoint = self._open_checkpoint(receipt.checkpoint)
                if checkpoint.size <= receipt.index:
                    raise VerificationError(f"its tree of {checkpoint.size} has no entry {receipt.index}")
            except ExchangeError as error:
                self.report.problem("receipts", None, f"{name}: {error}")
                continue
            self.seen[checkpoint.size].setdefault(checkpoint.root, name)
            self.receipts.append(Held(receipt, checkpoint))

    def _tree(self) -> None:
        """Recompute tree and tiles from the leaves and compare every root the log signed."""
        frontier, builder, sound = Frontier(), TileBuilder(), 0
        self._compare_root(frontier)
        try:
            for leaf in read_leaves(self.folder, self.held):
                try:
                    check_leaf(leaf)
                    sound += 1
                except MalformedError as error:
                    self.report.problem("leaves", frontier.size, error)
                hashed = leaf_hash(leaf)
                frontier.append(hashed)
                self._compare_tiles(builder.push(hashed))
                self._compare_root(frontier)
                if frontier.size % TILE_WIDTH == 0:
                    self.progress("leaves", frontier.size, self.held)
        except MalformedError as error:
            self.report.problem("leaves", frontier.size, error)
            self.held = frontier.size
        self._compare_tiles(builder.partials())
        self.progress("leaves", self.held, self.held)
        if self.report.size > self.held:
            what = f"the folder holds {self.held} of the newest checkpoint's {self.report.size} leaves"
            self.report.problem("leaves", self.held, what)
        self.report.count("leaves", min(sound, self.proved))
        self.report.skip("leaf under no checkpoint that holds", self.held - self.proved)
        for size, roots in self.seen.items():
            if size > self.held and len(roots) > 1:
                self.report.problem("checkpoints", None, f"the log signed {len(roots)} roots of size {size}")
            elif size > self.held:
                self.report.skip("checkpoint beyond the leaves in the folder")

    def _compare_root(self, frontier: Frontier) -> None:
        if frontier.size not in self.seen:
            return
        for root, where in self.seen[frontier.size].items():
            if root == frontier.root():
                self.report.count("checkpoints")
                self.proved = frontier.size
                self.proved_roots.add((frontier.size, root))
            else:
                what = f"{where}: the log signed a root of size {frontier.size} that its leaves don't lead to"
                self.report.problem("checkpoints", None, what)

    def _compare_tiles(self, tiles: Iterable[Tile]) -> None:
        for tile in tiles:
            try:
                check_tile(self.folder, tile)
                self.report.count("tiles")
            except ExchangeError as error:
                self.report.problem("tiles", None, error)

    def _rosters_on_log(self) -> None:
        """Match the rosters on the log, in their order, with the chain; one more may extend it."""
        logged: dict[int, bytes] = {}
        opener = EntryOpener(self.folder, self.proved)
        for _, opening in read_openings(self.folder):
            if isinstance(opening, MalformedError) or opening.index >= self.proved:
                continue
            try:
                if parse_header(opening.header).type != EntryType.ENTRY_TYPE_ROSTER:
                    continue
                _, payload = opener.open(opening)
            except ExchangeError:
                continue  # `_entries` reports it.
            if isinstance(payload, RosterEntry):
                logged[opening.index] = payload.note
        for version, (index, note) in enumerate(sorted(logged.items()), 1):
            try:
                if version > len(self.chain.versions):
                    self.chain = self.chain.extend(note)
                    self.report.count("roster_versions")
                self._check_roster_text(note, version)
            except ExchangeError as error:
                self.report.problem("rosters_on_log", index, error)
                return
            self.roster_indices.append(index)
            self.report.count("rosters_on_log")

    def _rulebook(self) -> None:
        if not (self.folder / "rulebook.json").is_file():
            self.report.skip("rulebook not in the folder")
        elif (
            sha256(read_file(self.folder / "rulebook.json")).hexdigest() != self.chain.current.rulebook_sha256
        ):
            self.report.problem("rulebook", None, "is not the one that the newest roster names")
        else:
            self.report.count("rulebook")

    def _entries(self) -> None:
        """Open every entry that the folder opens, and judge each once."""
        rosters = [roster for _, roster in self.chain.versions]
        checker = EntryChecker(
            self.report, rosters, self.roster_indices, self.proved_roots, self.receipts, self.disclosures
        )
        opener = EntryOpener(self.folder, self.proved)
        flags = bytearray(self.proved)
        for number, opening in read_openings(self.folder):
            if isinstance(opening, MalformedError):
                self.report.problem("headers", None, f"openings.jsonl, line {number}: {opening}")
                continue
            index = opening.index
            if index >= self.proved:
                self.report.skip("opening of an entry under no checkpoint that holds")
                continue
            try:
                header, payload = opener.open(opening)
            except ExchangeError as error:
                check = "headers" if opening.payload is None else "payloads"
                self.report.problem(check, index, error)
                continue
            checker.note(index, header)
            if payload is not None and not flags[index] & _PAYLOAD:
                checker.judge(index, header, payload)
            flags[index] |= _HEADER if payload is None else _HEADER | _PAYLOAD
            if number % TILE_WIDTH == 0:
                self.progress("entries", min(number, self.proved), self.proved)
        self.progress("entries", self.proved, self.proved)
        checker.finish(flags)
        self._count_opened(flags)

    def _count_opened(self, flags: bytearray) -> None:
        headers = sum(1 for flag in flags if flag & _HEADER)
        payloads = sum(1 for flag in flags if flag & _PAYLOAD)
        self.report.count("headers", headers)
        self.report.count("payloads", payloads)
        self.report.skip("header not opened", self.proved - headers)
        self.report.skip("payload not opened, or erased", self.proved - payloads)
        missing = len(self.chain.versions) - len(self.roster_indices)
        if missing and payloads == self.held:
            self.report.problem("rosters_on_log", None, f"{missing} roster versions are not on the log")
        else:
            self.report.skip("roster version not among the opened entries", missing)
