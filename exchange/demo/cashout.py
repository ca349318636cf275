"""The demo's city: what its members get to know, and how well the actors planted in it were found.

Invariants: the truth stays here, no member has it; an actor counts as found only if a member was told of a
match that names one of its identifiers; the days of the city begin with the replay's first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from signalexchange.entry_payloads import parse_header
from signalexchange.envelope import SignalDisclosure, parse_statement, verify_disclosure
from signalexchange.evidence import Opening, read_openings
from signalexchange.identifiers import type_name
from signalexchange.roster import Roster
from signalexchange.v1.log_entry_pb2 import BatchEntry, EntryType, MatchEntry
from signalexchange.v1.signal_pb2 import Signal

from exchange.demo.drawing import Hop, page
from exchange.evaluation.actors import Named, Score, score
from exchange.evaluation.people import People
from exchange.scenario import files
from exchange.scenario.calendar import START
from exchange.scenario.city import City, Size, generate

SEED: Final = 2026
"""No parameter was set on this city."""
SIZE: Final = Size(people=600, merchants=60)
DAY: Final = 86_400
_MOST_HOPS: Final = 12


@dataclass(frozen=True)
class Matching:
    """What came of matching. `seconds` are those from the last signal of a match to the first news of it."""

    found: Score
    compared: Mapping[str, Any]
    """The report of the same city's evaluation."""
    matches: int
    by_pattern: Mapping[str, int]
    seconds: Sequence[float]
    published: int
    rows: int

    def document(self) -> dict[str, Any]:
        """The part of `report.json`."""
        return {
            "precision": round(self.found.precision, 4),
            "recall": round(self.found.recall, 4),
            "actors": self.found.planted,
            "best_member_alone_recall": max(each["recall"] for each in self.compared["alone"].values()),
            "all_raw_data_recall": self.compared["pooled"]["recall"],
            "seconds_from_last_signal_to_match_p99": percentile(self.seconds, 99),
            "seconds_from_last_signal_to_match_p50": percentile(self.seconds, 50),
            "matches": self.matches,
            "by_pattern": dict(self.by_pattern),
            "flows": self.rows,
            "flow_signals": self.published,
            "share_of_ordinary_flows_published": self.compared["published"]["share_of_ordinary_rows"],
        }


class Cashout:
    """The city of one run, beginning at `first` (Unix seconds)."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._city: City = generate(SEED, SIZE)
        self._people = People(self._city.truth)

    @property
    def days(self) -> int:
        """How many days of replay the city needs: the morning after its last day included."""
        return SIZE.days + 1

    def identifiers(self) -> dict[str, set[str]]:
        """Every identifier in members' flows by the name of its type, devices and addresses too."""
        found: dict[str, set[str]] = {}
        for rows in self._city.views.values():
            for row in rows:
                for kind, value in ((row.payer_type, row.payer), (row.payee_type, row.payee)):
                    found.setdefault(kind, set()).add(value)
                for kind, known in (("device", row.device), ("address", row.address)):
                    if known:
                        found.setdefault(kind, set()).add(known)
                for links in (row.payer_links, row.payee_links):
                    for link in (links or "").split(";"):
                        kind, colon, value = link.partition(":")
                        if colon:
                            found.setdefault(kind, set()).add(value)
        return found

    def keep(self, member: str, folder: Path) -> None:
        """Write what a member knows into its folder, its days moved to the replay's."""
        moved = [row._replace(time=row.time - START + self._first) for row in self._city.views[member]]
        files.write_member(moved, self._city.shared, folder)

    def members(self) -> list[str]:
        """Who has flows."""
        return list(self._city.views)

    def outcome(
        self, summaries: Sequence[Mapping[str, Any]], log: "MatchLog", compared: Mapping[str, Any]
    ) -> Matching:
        """How well the members were told, beside what each alone and all together could have found."""
        told = _together(summaries)
        named = [
            Named(each["pattern"], each["confidence"], self._people.entities(each["named"]))
            for each in told.values()
        ]
        patterns: dict[str, int] = {}
        for each in told.values():
            patterns[each["pattern"]] = patterns.get(each["pattern"], 0) + 1
        acknowledged = {
            int(index): at for summary in summaries for index, at in summary["acknowledged"].items()
        }
        return Matching(
            found=score(self._people.planted, named),
            compared=compared,
            matches=len(told),
            by_pattern=dict(sorted(patterns.items())),
            seconds=sorted(
                max(
                    0.0,
                    each["told"] - max(at for index, at in acknowledged.items() if index < log.as_of(id_)),
                )
                for id_, each in told.items()
            ),
            published=sum(summary["published"] for summary in summaries),
            rows=sum(summary["rows"] for summary in summaries),
        )

    def most_telling(self, summaries: Sequence[Mapping[str, Any]], log: "MatchLog") -> str | None:
        """The match to draw: a loop if there is one, of few enough signals to be seen, told of by most
        groups, and then the surest; None where nobody was told of any."""
        told = _together(summaries)
        return min(
            told,
            default=None,
            key=lambda id_: (
                told[id_]["pattern"] != "funds loop",
                not 3 <= len(log.places(id_)) <= _MOST_HOPS,
                -told[id_]["groups"],
                -told[id_]["confidence"],
                id_,
            ),
        )


def _together(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Matches by id, with what any member was told first and all that members could name."""
    found: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        for each in summary["matches"]:
            known = found.setdefault(each["id"], {**each, "named": []})
            known["named"] = sorted({*known["named"], *each["named"]})
            known["told"] = min(known["told"], each["told"])
            known["confidence"] = max(known["confidence"], each["confidence"])
    return found


def comparison(folder: Path) -> tuple[str, ...]:
    """The command that evaluates the same city without network, into `folder`."""
    size = ("--people", str(SIZE.people), "--merchants", str(SIZE.merchants))
    return ("evaluate", "--seed", str(SEED), *size, "--folder", str(folder))


def compared(folder: Path) -> Mapping[str, Any]:
    """What it found."""
    report: Mapping[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return report


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile of ascending values; None of none."""
    return round(values[-(-len(values) * percent // 100) - 1], 3) if values else None


class MatchLog:
    """What the auditor's evidence says of matches and of the batches they stand on."""

    def __init__(self, evidence: Path) -> None:
        self._entries: dict[str, list[MatchEntry]] = {}
        self._batches: dict[int, BatchEntry] = {}
        for _, opening in read_openings(evidence):
            if not isinstance(opening, Opening) or opening.payload is None:
                continue
            kind = parse_header(opening.header).type
            if kind == EntryType.ENTRY_TYPE_MATCH:
                entry = MatchEntry.FromString(opening.payload)
                self._entries.setdefault(entry.match_id.hex(), []).append(entry)
            elif kind == EntryType.ENTRY_TYPE_BATCH:
                self._batches[opening.index] = BatchEntry.FromString(opening.payload)

    def __len__(self) -> int:
        return len(self._entries)

    def places(self, match_id: str) -> list[tuple[int, int]]:
        """Log entry and position of every signal that a match stood on when last told, while it did."""
        evidence = next(entry.evidence for entry in reversed(self._entries[match_id]) if entry.evidence)
        return [(each.index, each.position) for each in evidence]

    def as_of(self, match_id: str) -> int:
        """Every entry below it had been taken into account when a match was first told."""
        return self._entries[match_id][0].as_of

    def hop(self, opened: Mapping[str, Any], roster: Roster) -> Hop:
        """A signal that its issuer opened, once it is checked against the batch on the log.

        Raises VerificationError.
        """
        batch = self._batches[opened["index"]]
        statement = parse_statement(batch.statement)
        key = next(
            key.public_key
            for party in roster.parties
            if party.id == statement.member
            for key in party.signing_keys
            if key.id == statement.key_id
        )
        disclosure = SignalDisclosure(
            index=opened["index"],
            statement=batch.statement,
            signature=batch.signature,
            position=opened["position"],
            nonce=bytes.fromhex(opened["nonce"]),
            signal=bytes.fromhex(opened["signal"]),
            path=tuple(bytes.fromhex(node) for node in opened["path"]),
        )
        verify_disclosure(disclosure, key)
        signal = Signal.FromString(disclosure.signal)
        return Hop(
            reporter=statement.member,
            code=signal.code,
            source=signal.subject.value,
            source_kind=type_name(signal.subject.type),
            target=signal.counterparty.value,
            target_kind=type_name(signal.counterparty.type) if signal.counterparty.value else "",
            time=signal.first_seen,
            amount=amount_range(signal.amount_band),
            entry=disclosure.index,
            position=disclosure.position,
        )


def amount_range(band: int) -> str:
    """The amounts of a band, in CNY."""
    return f"{1.1 ** (band - 1):,.0f} to {1.1**band:,.0f}" if band else ""


def draw(match: Mapping[str, Any], hops: Sequence[Hop]) -> str:
    """The page of a match as it was told."""
    facts = [
        ("pattern", match["pattern"]),
        ("status", match["status"]),
        ("independent groups", str(match["groups"])),
        ("confidence", f"{match['confidence']} of 1000"),
        ("signals", str(len(hops))),
    ]
    return page(f"A match: {match['pattern']}", facts, hops)
