"""Tables and examples of the documents equal the code and the frozen vectors.

A comment in front of a table or a fence says what it is compared with: `example: FILE POINTER` and
`text: FILE POINTER` (vectors under tests/conformance), `table: NAME`, `config: NAME`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from signalexchange import v1
from signalexchange.config import MemberConfig
from signalexchange.note import MAX_NOTE_SIZE
from signalexchange.rulebook import MAX_BATCH
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.custodian import process
from exchange.custodian.config import CustodianConfig
from exchange.server import app
from exchange.server.access import DISCLOSING, EVERYBODY, LAW_ENFORCEMENT, MEMBERS, OPERATOR, RULES
from exchange.server.config import HubConfig
from exchange.server.interceptor import DEADLINE
from exchange.server.telemetry import Metrics
from exchange.usecases import enrol
from tests.support.pages import CONTRACT, PAGES, ROOT, fences, table

VECTORS = ROOT / "tests" / "conformance"


def at(file: str, pointer: str) -> Any:
    """A value of a vector file."""
    found = json.loads((VECTORS / file).read_text("utf-8"))
    for part in pointer.split("/"):
        if part:
            found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def test_examples_equal_the_vectors() -> None:
    compared = 0
    for page in PAGES:
        for fence in fences(page):
            match fence.comment.split():
                case ["example:", file, pointer]:
                    for key, value in example(fence.text).items():
                        assert value == str(at(file, f"{pointer}/{key}")), (file, pointer, key)
                        compared += 1
                case ["text:", file, pointer]:
                    assert fence.text == at(file, pointer)
                    compared += 1
    assert compared > 20


def example(text: str) -> dict[str, str]:
    """Keys and values of an example; a value goes on in indented lines."""
    values: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line.startswith(" "):
            values[key] += line.strip()
        else:
            key, _, value = line.partition(" ")
            values[key] = value.strip()
    return values


def test_every_vector_file_is_documented() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    for path in VECTORS.glob("*.json"):
        assert f"`{path.name}`" in text


def test_the_reasons_are_those_of_the_contract() -> None:
    source = (ROOT / "proto/signalexchange/v1/error_reason.proto").read_text("utf-8")
    listed = re.findall(r"  // ([A-Z_]+): (.*)\n  ERROR_REASON_([A-Z_]+) = (\d+);", source)
    expected = [[f"`{name}`", number, f"`{status}`", meaning] for status, meaning, name, number in listed]
    assert len(expected) == len(ErrorReason.keys()) - 1
    assert table("table: reasons") == expected


def test_the_methods_are_those_of_the_access_table() -> None:
    who = {
        MEMBERS: "members",
        OPERATOR: "operator",
        LAW_ENFORCEMENT: "law enforcement",
        DISCLOSING: "members, law enforcement",
        EVERYBODY: "every enrolled party",
    }

    class Ten:
        """A request about ten things."""

        tokens = signals = range(10)

    cost = {"look_ups": "1 a token", "signals": "1 a signal"}
    expected = []
    for name, rule in RULES.items():
        _, service, method = name.split("/")
        price = "1" if rule.cost(Ten()) == 1 else cost[rule.bucket]
        named = f"`{service.removeprefix('signalexchange.v1.')}.{method}`"
        expected.append([named, who[rule.kinds], f"`{rule.bucket}`", price])
    assert table("table: methods") == expected


def test_the_entries_are_those_of_the_contract() -> None:
    rows = {int(row[0]): row[1].strip("`") for row in table("table: entries")}
    values = EntryType.items()
    assert rows == {number: name.removeprefix("ENTRY_TYPE_") for name, number in values if number}


def config_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a configuration, with "required" or its default."""
    for name, field in model.model_fields.items():
        section = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if is_model(kind)
            ),
            None,
        )
        if section is not None:
            yield from config_keys(section, f"{prefix}{name}.")
        elif field.annotation == dict[str, str] or str(field.annotation).startswith("dict["):
            yield f"{prefix}{name}.ID", "none"
        elif field.is_required():
            yield f"{prefix}{name}", "required"
        else:
            yield f"{prefix}{name}", "none" if field.default is None else f"`{json.dumps(field.default)}`"


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@pytest.mark.parametrize(
    ("name", "model"), [("hub", HubConfig), ("custodian", CustodianConfig), ("member", MemberConfig)]
)
def test_configuration_keys_are_documented(name: str, model: type[BaseModel]) -> None:
    documented = {row[0].strip("`"): row[1] for row in table(f"config: {name}")}
    assert documented == dict(config_keys(model))


def test_metrics_are_documented() -> None:
    documented = {(row[0].strip("`"), row[1]) for row in table("table: metrics")}
    metrics = Metrics()
    metrics.watch_matching(lambda: 0, lambda: 0, lambda which: 0)
    served = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type)
        for family in metrics.registry.collect()
    }
    assert documented == served


def test_limits_are_documented() -> None:
    def size(options: Any, name: str) -> str:
        value = dict(options)[f"grpc.max_{name}"]
        return f"{value >> 20} MiB" if value >= 1 << 20 else f"{value >> 10} KiB"

    assert dict(table("table: limits")) == {
        "message to the hub": size(app._OPTIONS, "receive_message_length"),
        "message to a custodian": size(process._OPTIONS, "receive_message_length"),
        "metadata of a call to the hub": size(app._OPTIONS, "metadata_size"),
        "signals, tokens, ids, points, leaves or entries a call": f"{MAX_BATCH:,}",
        "roster versions a call": str(enrol.PAGE),
        "time of a call": f"{DEADLINE:.0f} seconds",
        "a note": f"{MAX_NOTE_SIZE >> 20} MiB",
        "reason of a suspension": f"{enrol.MAX_REASON} characters",
    }


def test_log_events_are_documented() -> None:
    written = set()
    for path in (ROOT / "exchange").rglob("*.py"):
        if "demo" not in path.parts:
            written |= set(re.findall(r"\b_?(?:event|report)\(\s*\"([a-z-]+)\"", path.read_text("utf-8")))
    assert {row[0].strip("`") for row in table("table: events")} == written


def test_the_contract_is_whole() -> None:
    folder = Path(next(iter(v1.__path__)))
    assert {module.__name__.rpartition(".")[2] for module in CONTRACT} == {
        path.stem for path in folder.glob("*_pb2.py")
    }
