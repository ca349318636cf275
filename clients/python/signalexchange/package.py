"""The evidence package: what a member releases to law enforcement, in one file that is checked offline.

A ZIP archive of these parts and no others, in this order, nothing compressed:

    manifest.json        what this is: request, member, instrument, and every part's kind, size and SHA-256
    request.json         the request, as the authority's officer signed it, with its proof
    rosters/0001.json …  the roster versions on the log, each with its proof
    rulebook.json        the rulebook in force
    signals/0001.json …  signals of the member's own, each out of its signed batch, with its proof
    matches/0001.json …  matches as the member was shown them, each with the proof of its delivery
    cases/0001.json …    steps of the member's own proceedings, each with its proof
    attachments/NAME     files that the officers chose
    report.html          all of it for people

Invariants: an archive has one spelling: read and written again it is the same bytes, so that nothing hides
between or behind the parts; parts of other names are refused, and there is none for anything else a member
may know of a customer; sizes are bounded before anything is read. Nothing read here is verified.
"""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from signalexchange.documents import Base64, Document, Identifier, Record, Sha256Hex, UnixTime
from signalexchange.entries import OPENING_SIZE, make_leaf
from signalexchange.envelope import SignalDisclosure
from signalexchange.errors import MalformedError
from signalexchange.hpke import MAX_CONTENT

MAX_PACKAGE = MAX_CONTENT
"""Bytes of an archive, as many as can be sealed."""
MAX_PARTS = 4_000
MAX_ATTACHMENT = 1 << 20
MANIFEST, REQUEST, RULEBOOK, REPORT = "manifest.json", "request.json", "rulebook.json", "report.html"

Kind = Literal["request", "roster", "rulebook", "signal", "match", "case", "attachment", "report"]
Part = Annotated[str, Field(strict=True, max_length=200)]
Opening = Annotated[Base64, Field(min_length=OPENING_SIZE, max_length=OPENING_SIZE)]

_NUMBERED = r"(?P<kind>rosters|signals|matches|cases)/[0-9]{4}\.json"
_NAMED = r"(?P<attachment>attachments/(?![.~ ])[^/\\:*?\"<>|\x00-\x1f\x7f]{1,100}(?<![. ]))"
_PART = re.compile(f"{_NUMBERED}|{_NAMED}")
_FIXED: Mapping[str, Kind] = {REQUEST: "request", RULEBOOK: "rulebook", REPORT: "report"}
_KINDS: Mapping[str, Kind] = {"rosters": "roster", "signals": "signal", "matches": "match", "cases": "case"}
_ORDER: tuple[Kind, ...] = (
    "request", "roster", "rulebook", "signal", "match", "case", "attachment", "report",
)  # fmt: skip

# What must not be told to anybody, whoever asks: that a report of suspicion was made.
_REPORT_OF_SUSPICION = re.compile(
    r"可疑交易|可疑行为报告|suspicious[\W_]*(?:activity|transaction|matter)s?[\W_]*reports?", re.IGNORECASE
)
_ABBREVIATION = re.compile(r"(?<![A-Za-z])(?:SAR|STR|SMR)s?(?![A-Za-z])", re.IGNORECASE)
_ENCODINGS = ("utf-8", "utf-16", "gb18030")


class LogEntry(Record):
    """An opened entry of the log with the proof (c2sp.org/tlog-proof) that it is there."""

    header: Base64
    header_opening: Opening
    payload: Base64
    payload_opening: Opening
    proof: Annotated[str, Field(strict=True, max_length=1 << 17)]

    @property
    def leaf(self) -> bytes:
        """The leaf that header and payload make with these openings."""
        return make_leaf(self.header, self.header_opening, self.payload, self.payload_opening)


class RequestPart(Document):
    """The request that the package answers: the member's entry of it in the log, which holds statement and
    signature."""

    entry: LogEntry


class RosterPart(Document):
    """A roster version, as its entry in the log has it."""

    entry: LogEntry


class Change(Record):
    """What the member said of a signal of its own afterwards: an order that withdraws it, with the order's
    statement, or a report of outcomes, whose statement is in the entry."""

    entry: LogEntry
    statement: Base64


class SignalPart(Document):
    """A signal of the member's own; `reference` is the member's, empty where it is not released.

    `record` is the member's own row behind the signal, with raw identifiers, and `salt` opens the signal's
    commitment to it; both empty where it is not released.
    """

    disclosure: SignalDisclosure
    entry: LogEntry
    changes: tuple[Change, ...]
    reference: str
    record: Base64
    salt: Base64


class MatchPart(Document):
    """A match as the member was shown it: a serialised Match, and the entry that says so."""

    match: Base64
    delivery: LogEntry


class CasePart(Document):
    """Steps of the member's proceeding in a case, in order."""

    case_id: Annotated[Base64, Field(min_length=16, max_length=16)]
    steps: tuple[LogEntry, ...]


class PartRow(Record):
    """What the manifest says of a part."""

    name: Part
    kind: Kind
    sha256: Sha256Hex
    size: Annotated[int, Field(strict=True, ge=0, le=MAX_PACKAGE)]


class Manifest(Document):
    """What the package is. `salt` is random, so that nobody can try contents against its digest."""

    version: Literal[1]
    report_version: Annotated[int, Field(strict=True, ge=1, le=1_000)]
    salt: Annotated[Base64, Field(min_length=32, max_length=32)]
    origin: str
    member: Identifier
    requester: Identifier
    request_sha256: Sha256Hex
    instrument: str
    instrument_reference: str
    made_at: UnixTime
    parts: tuple[PartRow, ...]


def kind_of(name: str) -> Kind:
    """What part of a package has this name; raises MalformedError for one that none has."""
    found = _PART.fullmatch(name)
    if name in _FIXED:
        return _FIXED[name]
    if found is None or not name.isprintable():
        raise MalformedError("a package has no part of this name")
    return _KINDS[found["kind"]] if found["kind"] else "attachment"


def rows(parts: Mapping[str, bytes]) -> tuple[PartRow, ...]:
    """The manifest's rows of parts, in the order of the archive. Raises MalformedError."""
    found = [
        PartRow(name=name, kind=kind_of(name), sha256=sha256(data).hexdigest(), size=len(data))
        for name, data in parts.items()
    ]
    return tuple(sorted(found, key=lambda row: (_ORDER.index(row.kind), row.name)))


def write_package(manifest: Manifest, parts: Mapping[str, bytes]) -> bytes:
    """The archive of a manifest and the parts it lists. Raises MalformedError, also where it is too large."""
    if manifest.parts != rows(parts):
        raise MalformedError("the manifest lists other parts")
    data = _archive(manifest, parts)
    if len(data) > MAX_PACKAGE or len(parts) > MAX_PARTS:
        raise MalformedError(
            f"the package would have {len(data):,} bytes in {len(parts):,} parts; at most {MAX_PACKAGE:,} in "
            f"{MAX_PARTS:,} can be sealed: release fewer signals, or smaller attachments"
        )
    return data


def read_package(data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and parts of an archive, each part being what the manifest says. Raises MalformedError."""
    if len(data) > MAX_PACKAGE:
        raise MalformedError(f"a package has at most {MAX_PACKAGE:,} bytes")
    files = _files(data)
    manifest = Manifest.parse(text_of(files.pop(MANIFEST, b"")))
    if manifest.parts != rows(files):
        raise MalformedError("the package's parts are not those of its manifest")
    if _archive(manifest, files) != data:
        raise MalformedError("the archive is not in the only form that a package has")
    return manifest, {row.name: files[row.name] for row in manifest.parts}


def text_of(data: bytes) -> str:
    """The text of a part; raises MalformedError unless it is UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedError("a part is not UTF-8") from None


def check_attachment(name: str, data: bytes) -> None:
    """Raise MalformedError for an attachment that can't be one, or that tells of a report of suspicion.

    What such a report says, and that there is one, is for the financial intelligence unit and for nobody else
    (FATF recommendation 21, tipping-off and confidentiality). A file that holds text in a form of
    its own, such as a PDF or an image, can't be looked through: that is for the officers.
    """
    if kind_of(f"attachments/{name}") != "attachment" or len(data) > MAX_ATTACHMENT:
        raise MalformedError(f"an attachment has at most {MAX_ATTACHMENT:,} bytes")
    told = _ABBREVIATION.search(name.replace("_", " ")) or _REPORT_OF_SUSPICION.search(name)
    for encoding in _ENCODINGS:
        told = told or _REPORT_OF_SUSPICION.search(data.decode(encoding, "ignore"))
    if told:
        raise MalformedError(
            "the attachment tells of a report of suspicious transactions: whether there is one must be told "
            "to nobody, so no package carries it; leave it out"
        )


def _archive(manifest: Manifest, parts: Mapping[str, bytes]) -> bytes:
    files = {MANIFEST: manifest.text().encode()} | {row.name: parts[row.name] for row in manifest.parts}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            row = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            row.create_system = 3
            row.external_attr = 0o100644 << 16
            archive.writestr(row, data)
    return buffer.getvalue()


def _files(data: bytes) -> dict[str, bytes]:
    """The archive's files, read only where sizes are as they must be."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
            if len(listed) > MAX_PARTS + 1 or sum(row.file_size for row in listed) > len(data):
                raise MalformedError("the archive says it holds more than it can")
            if any(row.compress_type != zipfile.ZIP_STORED or row.flag_bits & 1 for row in listed):
                raise MalformedError("a package is neither compressed nor encrypted")
            files = {row.filename: archive.read(row) for row in listed}
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:
        raise MalformedError("not an archive, or damaged") from error
    if len(files) != len(listed):
        raise MalformedError("the archive holds a file twice")
    return files
