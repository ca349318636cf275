"""The documents say what is there: files, tests, methods, reasons, commands, keys, metrics, examples.

Checked are README.md and everything under docs/. A comment in front of a table or a fence says what it is
compared with: `example: FILE POINTER` and `text: FILE POINTER` (vectors under tests/conformance),
`table: NAME`, `config: NAME`.
"""

import importlib
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from pydantic import BaseModel
from signalexchange import v1
from signalexchange.cli import main as signalexchange
from signalexchange.config import MemberConfig
from signalexchange.v1 import (
    error_reason_pb2,
    identifier_pb2,
    log_entry_pb2,
    membership_service_pb2,
    signal_pb2,
    signal_service_pb2,
    token_service_pb2,
    transparency_service_pb2,
)

from exchange.cli import main as exchange_hub
from exchange.custodian.config import CustodianConfig
from exchange.server.access import EVERYBODY, MEMBERS, OPERATOR, RULES
from exchange.server.config import HubConfig
from exchange.server.telemetry import Metrics

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + [path for path in [ROOT / "README.md"] if path.exists()]
VECTORS = ROOT / "tests" / "conformance"
CONTRACT = (
    error_reason_pb2, identifier_pb2, log_entry_pb2, membership_service_pb2,
    signal_pb2, signal_service_pb2, token_service_pb2, transparency_service_pb2,
)  # fmt: skip
FOLDERS = ("docs/", "exchange/", "clients/", "tests/", "proto/", "deploy/", "requirements/", ".ci/")
STATUSES = {
    "INVALID_ARGUMENT", "PERMISSION_DENIED", "ALREADY_EXISTS", "NOT_FOUND", "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "DEADLINE_EXCEEDED", "NOT_SERVING",
}  # fmt: skip

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


class Fence(NamedTuple):
    """A fenced block: its language, its lines, and the comment right in front of it."""

    language: str
    text: str
    comment: str


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page).replace("\\|", "|"))


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page."""
    found = re.findall(
        r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), flags=re.M | re.S
    )
    return [Fence(language, text, comment) for comment, language, text in found]


def table(kind: str) -> list[list[str]]:
    """Rows, without the heading, of the table behind a comment, wherever it is."""
    for page in PAGES:
        found = re.search(rf"^<!-- {kind} -->\n((?:\|.*\n)+)", page.read_text("utf-8"), flags=re.M)
        if found:
            rows = found[1].splitlines()[2:]
            return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]
    raise AssertionError(f"no table {kind}")


def slug(heading: str) -> str:
    """The anchor that a heading gets when it is rendered."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), flags=re.M)
            assert anchor in {slug(heading) for heading in headings}, target


@pages
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    for span in code_spans(page):
        if not span.startswith(FOLDERS) or re.search(r"[\s…*{}<>]", span):
            continue
        path, _, test = span.partition("::")
        assert (ROOT / path).exists(), span
        if test:
            assert re.search(rf"def {re.escape(test)}\(", (ROOT / path).read_text("utf-8")), span


@pages
def test_methods_that_are_named_exist(page: Path) -> None:
    services = {
        name: set(service.methods_by_name)
        for module in CONTRACT
        for name, service in module.DESCRIPTOR.services_by_name.items()
    }
    for span in code_spans(page):
        if named := re.fullmatch(r"(\w+Service)\.(\w+)", span):
            assert named[2] in services[named[1]], span


@pages
def test_constants_that_are_named_exist(page: Path) -> None:
    known = set(STATUSES)
    for module in CONTRACT:
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
            for value in enum.values:
                known |= {value.name, value.name.removeprefix(prefix)}
    for span in code_spans(page):
        if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", span):
            assert span in known, span


@pages
def test_python_names_that_are_named_exist(page: Path) -> None:
    for span in code_spans(page):
        if re.fullmatch(r"(signal)?exchange(\.\w+)+", span) and not span.startswith("signalexchange.v1."):
            resolve_name(span)


def resolve_name(name: str) -> Any:
    """The module or attribute of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


@pages
def test_fences_parse(page: Path) -> None:
    for fence in fences(page):
        assert fence.language in {"", "sh", "toml", "json", "text"}, fence.text[:60]
        if fence.language == "sh":
            checked = subprocess.run(
                ["bash", "-n"], input=fence.text, text=True, capture_output=True, check=False
            )
            assert checked.returncode == 0, checked.stderr
        elif fence.language == "toml":
            tomllib.loads(fence.text)
        elif fence.language == "json":
            json.loads(fence.text)


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Commands in shell and indented blocks, which are whole, and in code spans, which only name them."""
    blocks = [fence.text for fence in fences(page) if fence.language == "sh"]
    blocks += re.findall(r"^    ((?:exchange-hub|signalexchange|make) .*)$", prose(page), flags=re.M)
    spans = [
        span for span in code_spans(page) if span.startswith(("exchange-hub ", "signalexchange ", "make "))
    ]
    for text, whole in [*((block, True) for block in blocks), *((span, False) for span in spans)]:
        for line in text.replace("\\\n", " ").splitlines():
            command: list[str] = []
            for word in [*shlex.split(re.sub(r"\s>\s*\S+", "", line), comments=True), ";"]:
                if word in {"&&", "||", "|", ";", "&"}:
                    yield command, whole
                    command = []
                else:
                    command.append(word)


@pages
def test_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    for command, whole in commands(page):
        match command:
            case ["exchange-hub", *words]:
                check_command(exchange_hub, words, whole, " ".join(command))
            case ["signalexchange", *words]:
                check_command(signalexchange, words, whole, " ".join(command))
            case ["make", *words]:
                named = [word for word in words if "=" not in word and not word.startswith("-")]
                assert set(named) <= targets, command


def check_command(command: click.Command, words: list[str], whole: bool, text: str) -> None:
    """Fail for a subcommand or an option that isn't there, or, in a `whole` command, for one that lacks."""
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    lacking = {param.name for param in command.params if param.required} if whole else set()
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    rest = iter(words)
    for word in rest:
        if word in {"--help", "-h"}:
            return
        if word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            assert name in options, f"{name}: {text}"
            option = options[name]
            lacking.discard(option.name)
            if isinstance(option, click.Option) and not (option.is_flag or option.count or equals):
                assert next(rest, None) is not None, f"{name} without a value: {text}"
        elif isinstance(command, click.Group):
            subcommand = command.get_command(click.Context(command), word)
            assert subcommand is not None, f"{word}: {text}"
            check_command(subcommand, list(rest), whole, text)
            return
        else:
            assert arguments, f"{word}: {text}"
            lacking.discard(arguments[0].name)
            if arguments[0].nargs != -1:
                arguments.pop(0)
    assert not lacking, f"{lacking}: {text}"


def test_make_targets_are_documented() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for target in ("demo", "test", "lint", "bench"):
        assert f"make {target}" in text


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
    assert len(expected) == len(error_reason_pb2.ErrorReason.keys()) - 1
    assert table("table: reasons") == expected


def test_the_methods_are_those_of_the_access_table() -> None:
    who = {MEMBERS: "members", OPERATOR: "operator", EVERYBODY: "every enrolled party"}

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
    values = log_entry_pb2.EntryType.items()
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
    served = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type)
        for family in Metrics().registry.collect()
    }
    assert documented == served


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
