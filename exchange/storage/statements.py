"""What writes a Delta: statements in the order of one transaction.

Invariants: nothing here reads; rows go many to a statement, since each step of a statement hands the
interpreter's lock over and back.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.domain.records import POSITIONS, Delta, Status
from exchange.storage.cases import case_statements
from exchange.storage.disclosures import disclosure_statements
from exchange.storage.outcomes import outcome_statements
from exchange.storage.reader import positions
from exchange.storage.transaction import Statement

_CLEAR: Final = (
    "UPDATE signals SET status = ?, token = NULL, nonce = NULL, body = NULL, code = '', audience = 0,"
    " confidence = 0, grade = 0, tlp = 0, last_seen = 0 WHERE place = ?"
)
_INSERT_SIGNALS: Final = (
    "INSERT INTO signals (place, signal_id, issuer, token, type, epoch, code, audience, confidence, grade,"
    " tlp, last_seen, expires_at, nonce, body, role, searched, echo)"
)
_INSERT_MATCH_EVENTS: Final = "INSERT INTO match_events (member, number, time)"
_INSERT_EVENTS: Final = (
    "INSERT INTO events (member, signal_id, change, own, type, epoch, token, time, correction)"
)
_INSERT_CASE_EVENTS: Final = "INSERT INTO case_events (member, case_id, time)"
_ACCESS: Final = (
    EntryType.ENTRY_TYPE_LOOK_UP,
    EntryType.ENTRY_TYPE_SUBSCRIPTION,
    EntryType.ENTRY_TYPE_DELIVERY,
    EntryType.ENTRY_TYPE_MATCH_DELIVERY,
    EntryType.ENTRY_TYPE_CORRECTION,
)
_ROWS: Final = 64


def statements(delta: Delta) -> Iterator[Statement]:
    """What writes a delta, in order."""
    for head, rows in (
        ("INSERT INTO entries", delta.entries),
        ("INSERT INTO tiles", delta.tiles),
        ("INSERT INTO batches", delta.batches),
        (_INSERT_SIGNALS, delta.signals),
        ("INSERT OR IGNORE INTO links", delta.links),
        ("INSERT INTO orders", delta.orders),
        (_INSERT_EVENTS, delta.events),
        ("INSERT OR REPLACE INTO subscriptions", delta.subscriptions),
        ("INSERT INTO rosters", delta.rosters),
        ("INSERT INTO suspensions", delta.suspensions),
        ("INSERT OR REPLACE INTO shown", delta.shown),
        ("INSERT OR REPLACE INTO spent", delta.spent),
        ("INSERT OR REPLACE INTO match_views", delta.match_views),
        (_INSERT_MATCH_EVENTS, delta.match_events),
        ("INSERT OR IGNORE INTO deliveries", delta.deliveries),
        ("INSERT INTO reports", delta.reports),
        ("INSERT INTO verdicts", delta.verdicts),
        ("INSERT INTO case_steps", delta.case_steps),
        ("INSERT INTO case_deadlines", delta.case_deadlines),
        ("INSERT INTO appeals", delta.appeals),
        ("INSERT OR REPLACE INTO appeal_times", delta.appeal_times),
        (_INSERT_CASE_EVENTS, delta.case_events),
        ("INSERT INTO case_orders", delta.case_orders),
        ("INSERT OR IGNORE INTO acknowledged", delta.acknowledged),
    ):
        yield from _inserts(head, rows)
    yield from _tombstones(delta)
    yield from outcome_statements(delta)
    yield from case_statements(delta)
    yield from disclosure_statements(delta.disclosures)
    if delta.matched_to:
        yield from _matched(delta)
    if delta.forgotten_events:
        yield "DELETE FROM events WHERE position <= ?", (delta.forgotten_events,)
        yield "UPDATE meta SET value = ? WHERE name = 'forgotten_events'", (delta.forgotten_events,)
    if delta.forgotten_match_events:
        yield "DELETE FROM match_events WHERE position <= ?", (delta.forgotten_match_events,)
        yield (
            "UPDATE meta SET value = ? WHERE name = 'forgotten_match_events'",
            (delta.forgotten_match_events,),
        )
    if delta.forgotten_case_events:
        yield "DELETE FROM case_events WHERE position <= ?", (delta.forgotten_case_events,)
        yield (
            "UPDATE meta SET value = ? WHERE name = 'forgotten_case_events'",
            (delta.forgotten_case_events,),
        )
    if delta.forgotten_shown:
        first, day = delta.forgotten_shown
        yield (
            "DELETE FROM shown WHERE token >= ? AND token < ? AND day < ?",
            (bytes([first]), bytes([first + 1]) if first < 255 else b"\xff" * 33, day),
        )
    for row in delta.unsubscribed:
        yield "DELETE FROM subscriptions WHERE token = ? AND member = ?", row
    if delta.lapsed:
        yield "DELETE FROM subscriptions WHERE expires_at <= ?", (delta.lapsed,)
        yield "DELETE FROM spent WHERE until <= ?", (delta.lapsed,)
        yield "DELETE FROM appeal_times WHERE again <= ?", (delta.lapsed,)
    if delta.forgotten_access:
        yield (
            "UPDATE entries SET payload = NULL, payload_opening = NULL WHERE idx >="  # noqa: S608 - marks only
            " (SELECT value FROM meta WHERE name = 'forgotten_access') AND idx < ?"
            f" AND type IN ({','.join('?' * len(_ACCESS))})",
            (delta.forgotten_access, *_ACCESS),
        )
        yield "UPDATE meta SET value = ? WHERE name = 'forgotten_access'", (delta.forgotten_access,)
        yield "DELETE FROM deliveries WHERE place < ?", (delta.forgotten_access * POSITIONS,)
    for member in delta.reinstated:
        yield "DELETE FROM suspensions WHERE member = ?", (member,)


def _inserts(head: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """Rows, many in a statement."""
    for at in range(0, len(rows), _ROWS):
        part = rows[at : at + _ROWS]
        values = ",".join([f"({','.join('?' * len(part[0]))})"] * len(part))
        yield f"{head} VALUES {values}", tuple(chain.from_iterable(part))


def _matched(delta: Delta) -> Iterator[Statement]:
    """What matching found and whom it concerns."""
    for number in delta.forgotten_matches:
        for table in ("matches", "match_instances", "match_views", "match_events"):
            yield f"DELETE FROM {table} WHERE number = ?", (number,)  # noqa: S608 - a table's name
    for gone in delta.match_instances_gone:
        yield "DELETE FROM match_instances WHERE number = ? AND key = ?", gone
    for head, rows in (
        ("INSERT OR REPLACE INTO matches", delta.matches),
        ("INSERT OR REPLACE INTO match_instances", delta.match_instances),
    ):
        yield from _inserts(head, rows)
    yield "UPDATE meta SET value = ? WHERE name = 'matched_to'", (delta.matched_to,)


def _tombstones(delta: Delta) -> Iterator[Statement]:
    for place in delta.withdrawn:
        yield "UPDATE signals SET status = ? WHERE place = ?", (Status.WITHDRAWN, place)
    for place in delta.erased:
        yield _CLEAR, (Status.WITHDRAWN, place)
    for place in delta.expired:
        yield _CLEAR, (Status.EXPIRED, place)
    for place in (*delta.withdrawn, *delta.erased, *delta.expired):
        yield "DELETE FROM links WHERE place = ?", (place,)
    for entry, was, now in delta.rescheduled:
        yield (
            "UPDATE batches SET next_expiry = (SELECT min(expires_at) FROM signals"
            " WHERE place BETWEEN ? AND ? AND body IS NOT NULL AND expires_at > ?)"
            " WHERE next_expiry = ? AND entry = ?",
            (*positions(entry), now, was, entry),
        )
