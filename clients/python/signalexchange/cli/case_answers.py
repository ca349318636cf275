"""Commands about what the customer says: explanations and appeals, received and judged."""

from collections.abc import Sequence
from pathlib import Path

import click

from signalexchange.cli.case_options import case_argument, done, parsed_id, step_options, written
from signalexchange.cli.common import (
    hex_bytes,
    with_client,
)
from signalexchange.client import ExchangeClient
from signalexchange.envelope import ID_SIZE
from signalexchange.officers import Grounds

_text = click.option("--text", help="What the customer said; it stays in the journal.")
_file_option = click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="What the customer handed in."
)


@click.group()
def explanation() -> None:
    """Note that the customer explained, and say whether that will do."""


@explanation.command("received")
@case_argument
@_text
@_file_option
@step_options
@with_client
async def explanation_received(
    client: ExchangeClient, case_id: str, text: str | None, file: Path | None, grounds: Grounds, as_json: bool
) -> None:
    """Note that the customer explained, also after the deadline as long as nothing followed from that."""
    done(await client.cases.receive_explanation(parsed_id(case_id), written(text, file), grounds), as_json)


def _judgement(name: str, summary: str, satisfactory: bool) -> click.Command:
    @case_argument
    @step_options
    @with_client
    async def judge(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
        done(await client.cases.judge_explanation(parsed_id(case_id), satisfactory, grounds), as_json)

    return click.command(name, help=summary)(judge)


explanation.add_command(_judgement("satisfactory", "The explanation will do: nothing goes up on it.", True))
explanation.add_command(
    _judgement("unsatisfactory", "The explanation will not do; it carries one step up.", False)
)


@click.group()
def appeal() -> None:
    """Note that the customer objects, and decide on it."""


@appeal.command("received")
@case_argument
@click.option("--signal", "signals", multiple=True, metavar="SIGNAL_ID", help="A signal objected to; repeat.")
@_text
@_file_option
@step_options
@with_client
async def appeal_received(
    client: ExchangeClient,
    case_id: str,
    signals: Sequence[str],
    text: str | None,
    file: Path | None,
    grounds: Grounds,
    as_json: bool,
) -> None:
    """Note an appeal. While it is undecided, no advice above a further authentication rests on what it
    disputes, at any member, and nothing goes up in this case."""
    ids = [hex_bytes(each, ID_SIZE, "a signal id") for each in signals]
    said = written(text, file)
    done(await client.cases.receive_appeal(parsed_id(case_id), said, grounds, signal_ids=ids), as_json)


def _appeal_decision(name: str, summary: str, granted: bool) -> click.Command:
    @case_argument
    @step_options
    @with_client
    async def decide(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
        done(await client.cases.decide_appeal(parsed_id(case_id), granted, grounds), as_json)

    return click.command(name, help=summary)(decide)


appeal.add_command(
    _appeal_decision(
        "grant", "The customer is right: lifts the measure, refutes own signals on the subject.", True
    )
)
appeal.add_command(_appeal_decision("reject", "The customer is wrong; what stood stands.", False))
