"""What all commands about the steps of cases share: who signs and why, files to keep, what came of it."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from signalexchange.cli.case_tables import moment, next_commands
from signalexchange.cli.common import (
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
)
from signalexchange.credentials import read_file
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError
from signalexchange.officers import Grounds, StepTaken
from signalexchange.v1.case_service_pb2 import CaseEvidence
from signalexchange.v1.signal_service_pb2 import Action

MAX_RECORD: Final = 8 * 1024 * 1024
"""Bytes of a file that the journal keeps."""
case_argument = click.argument("case_id", metavar="CASE")
officer_option = click.option(
    "--officer", default="", help="Id of the officer's key that signs; needed where there are several."
)


def step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every step; the command gets them as `grounds`."""

    @wraps(command)
    def run(*args: Any, officer: str, reason: str, evidence: Sequence[str], **kwargs: Any) -> Any:
        return command(*args, grounds=grounds_of(officer, reason, evidence), **kwargs)

    options = (
        officer_option,
        click.option(
            "--reason", default="", help="Code or pattern of the rulebook; that of the step before."
        ),
        click.option(
            "--evidence",
            multiple=True,
            metavar="WHAT",
            help="signal:ID, match:ID, look-up:INDEX, record:FILE or note:TEXT; repeat. Records and notes "
            "stay in the journal; the step commits to them.",
        ),
        json_option,
    )
    for option in reversed(options):
        run = option(run)
    return run


def grounds_of(officer: str, reason: str, given: Sequence[str]) -> Grounds:
    """The options' values; raises click.UsageError, and ConfigError for a file that can't be kept."""
    evidence: list[CaseEvidence] = []
    records: list[bytes] = []
    for text in given:
        what, _, value = text.partition(":")
        match what:
            case "signal":
                evidence.append(CaseEvidence(signal_id=hex_bytes(value, ID_SIZE, "a signal id")))
            case "match":
                evidence.append(CaseEvidence(match_id=hex_bytes(value, ID_SIZE, "a match id")))
            case "look-up" if value.isdecimal() and len(value) < 16:
                evidence.append(CaseEvidence(look_up=int(value)))
            case "record":
                records.append(kept_file(Path(value)))
            case "note" if value:
                records.append(value.encode())
            case _:
                raise click.UsageError(
                    f"--evidence {text!r}: give signal:ID, match:ID, look-up:INDEX, record:FILE or note:TEXT"
                )
    return Grounds(officer, reason, tuple(evidence), tuple(records))


def done(taken: StepTaken, as_json: bool) -> None:
    """Print what came of a step, and what may come next."""
    case = taken.case
    if as_json:
        print_json(
            {
                "case_id": case.case_id.hex(),
                "index": taken.index,
                "repeated": taken.repeated,
                "measure": enum_name(Action, case.state.measure, "ACTION_"),
                "next": list(case.state.next),
                "followed": [
                    {"kind": each.kind.name.lower(), "index": each.index} for each in taken.followed
                ],
            }
        )
        return
    click.echo(f"case {case.case_id.hex()}: step {len(case.steps) - 1} is log entry {taken.index}")
    for each in taken.followed:
        what = "sanction published" if each.kind.name == "BATCH" else "own signals withdrawn"
        click.echo(f"{what}; log entry {each.index}")
    if case.state.explain_by or case.state.decide_by:
        note(f"due {moment(case.state.explain_by or case.state.decide_by)}")
    note(f"may come next: {next_commands(case.state.next)}")


def parsed_id(text: str) -> bytes:
    """A case id; raises click.UsageError."""
    return hex_bytes(text, ID_SIZE, "a case id")


def kept_file(path: Path) -> bytes:
    """What the journal is to keep of a file; raises ConfigError."""
    content = read_file(path, "record")
    if len(content) > MAX_RECORD:
        raise ConfigError(f"{path}: longer than {MAX_RECORD >> 20} MiB; give its SHA-256 as a note instead")
    return content


def written(text: str | None, file: Path | None) -> bytes:
    """What the customer said or handed in; raises click.UsageError unless it is given one way."""
    if (text is None) == (file is None):
        raise click.UsageError("give either --text or --file")
    return kept_file(file) if file is not None else (text or "").encode()
