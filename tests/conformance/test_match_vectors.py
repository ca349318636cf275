"""Frozen forms of stored matches: what was stored before must read back the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from signalexchange.entry_payloads import parse_payload
from signalexchange.errors import MalformedError
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_MATCH, MatchEntry
from signalexchange.v1.match_service_pb2 import Match

from exchange.domain.matching.counters import thresholds
from exchange.domain.matching.finding import Part, Subject
from exchange.domain.matching.match import Decision, Evidence, Instance, MatchStatus, Verdict
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.rows import instance_row, match_row, read_instance, read_match
from exchange.domain.records import InstanceRow, MatchRow

VECTORS: Any = json.loads((Path(__file__).parent / "matches.json").read_text())


def observation(place: int) -> Observation:
    return Observation(place, b"", "", "", Role.PAYMENT, "", b"", 0, b"", 0, (), 1, 0, 0, 0, 0, False)


def instance(case: dict[str, Any]) -> Instance:
    return Instance(
        bytes.fromhex(case["key"]),
        case["rarity"],
        tuple(bytes.fromhex(anchor) for anchor in case["anchors"]),
        tuple(
            Subject(bytes.fromhex(subject["token"]), subject["type"], Part(subject["part"]))
            for subject in case["subjects"]
        ),
        frozenset(case["refuters"]),
        {
            item["place"]: Evidence(
                observation(item["place"]), item["principal"], item["closer"], item["refuted"]
            )
            for item in case["evidence"]
        },
    )


@pytest.mark.parametrize("case", VECTORS["instances"], ids=lambda case: case["name"])
def test_an_instance(case: dict[str, Any]) -> None:
    row = instance_row(case["number"], instance(case), settled=case["settled"])
    assert row == InstanceRow(case["number"], bytes.fromhex(case["key"]), bytes.fromhex(case["body"]))
    assert read_instance(row, observation) == (instance(case), case["settled"])
    for cut in range(len(row.body)):
        with pytest.raises(MalformedError):
            read_instance(row._replace(body=row.body[:cut]), observation)
    with pytest.raises(MalformedError):
        read_instance(row._replace(body=row.body + b"\0"), observation)


def test_evidence_that_is_gone_is_left_out() -> None:
    case = VECTORS["instances"][0]
    row = instance_row(case["number"], instance(case), settled=False)
    first = case["evidence"][0]["place"]
    read, _ = read_instance(row, lambda place: None if place == first else observation(place))
    assert list(read.evidence) == [item["place"] for item in case["evidence"][1:]]


@pytest.mark.parametrize("case", VECTORS["matches"], ids=lambda case: case["name"])
def test_a_match(case: dict[str, Any]) -> None:
    row = MatchRow(
        case["number"],
        bytes.fromhex(case["match_id"]),
        case["pattern"],
        case["status"],
        case["found_at"],
        case["updated_at"],
        bytes.fromhex(case["verdicts"]),
        case["reported"],
    )
    match = read_match(row)
    assert match_row(match) == row
    assert match.status == MatchStatus(case["status"])
    assert match.verdicts == {
        each["group"]: Decision(Verdict(each["verdict"]), each["time"]) for each in case["decisions"]
    }
    for cut in range(1, len(row.verdicts)):
        if cut not in case["ends"]:
            with pytest.raises(MalformedError):
                read_match(row._replace(verdicts=row.verdicts[:cut]))


@pytest.mark.parametrize("case", VECTORS["entries"], ids=lambda case: case["name"])
def test_an_entry_with_and_without_counters(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    entry = parse_payload(ENTRY_TYPE_MATCH, payload)
    assert isinstance(entry, MatchEntry)
    assert entry.SerializeToString() == payload
    for name in ("volume", "gain"):
        told = [getattr(entry, name).low, getattr(entry, name).high] if entry.HasField(name) else None
        assert told == case[name]


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["name"])
def test_a_match_as_shown_with_and_without_counters(case: dict[str, Any]) -> None:
    message = Match.FromString(bytes.fromhex(case["message"]))
    assert (message.total_digits, message.gain_digits) == (case["total_digits"], case["gain_digits"])
    assert (message.notice_code, len(message.thresholds)) == (case["notice_code"], case["thresholds"])
    if message.thresholds:
        assert list(message.thresholds) == list(thresholds(message.total_digits, message.gain_digits))
