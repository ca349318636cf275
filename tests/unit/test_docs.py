"""What the documents name is there: files, tests, methods, commands, links; and their code parses."""

import importlib
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from signalexchange.cli import main as signalexchange

from exchange.cli import main as exchange_hub
from tests.support.pages import CONTRACT, PAGES, ROOT, code_spans, fences, prose, slug

FOLDERS = ("docs/", "exchange/", "clients/", "tests/", "proto/", "deploy/", "requirements/", ".ci/")
STATUSES = {
    "INVALID_ARGUMENT", "PERMISSION_DENIED", "ALREADY_EXISTS", "NOT_FOUND", "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "DEADLINE_EXCEEDED", "NOT_SERVING",
}  # fmt: skip

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


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
