"""Commands about cases: to see and watch them, to give notices, to have them erased; the steps are beside."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from signalexchange.case_client import notice_shown
from signalexchange.case_reader import CaseNews
from signalexchange.cli import case_notices, case_tables
from signalexchange.cli.case_options import case_argument, officer_option
from signalexchange.cli.case_steps import STEP_COMMANDS
from signalexchange.cli.common import hex_bytes, json_option, note, print_json, print_table, with_client
from signalexchange.cli.notices import html_option, language_option, placeholder_values, value_option
from signalexchange.cli.watching import print_news, watch_options
from signalexchange.client import ExchangeClient
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError
from signalexchange.officers import Grounds


@click.group()
def cases() -> None:
    """Act on a customer with due process: each step signed by an officer, with reason and evidence, on the
    log.

    The ladder is authenticate, explain, intercept, restrict, freeze. Other members see nothing of your
    proceeding but that there is one. `show` says what may come next.
    """


for _command in STEP_COMMANDS:
    cases.add_command(_command)


@cases.command("list")
@click.option("--unfinished", is_flag=True, help="Only what is open, and where a measure stands.")
@json_option
@with_client
async def list_(client: ExchangeClient, unfinished: bool, as_json: bool) -> None:
    """List your cases, oldest first."""
    found = [case async for case in client.cases.all(unfinished=unfinished)]
    if as_json:
        roster = await client.roster.roster()
        print_json([case_tables.document(client, roster, case) for case in found])
    else:
        print_table(case_tables.COLUMNS, [case_tables.row(client, case) for case in found])


@cases.command()
@case_argument
@json_option
@with_client
async def show(client: ExchangeClient, case_id: str, as_json: bool) -> None:
    """Show one case: where it stands, every step, what may come next, the notice that the customer gets, and
    what is written down here."""
    case = await client.cases.get(hex_bytes(case_id, ID_SIZE, "a case id"))
    found = case_tables.document(client, await client.roster.roster(), case)
    found["notice"] = case_notices.code_of(case)
    if as_json:
        print_json(found)
    else:
        case_tables.show(found)


@cases.command("notice")
@case_argument
@language_option
@value_option
@html_option
@click.option("--acknowledged", is_flag=True, help="Record that the customer acknowledged it.")
@officer_option
@json_option
@with_client
async def notice_(
    client: ExchangeClient,
    case_id: str,
    language: str,
    values: Sequence[str],
    page: Path | None,
    acknowledged: bool,
    officer: str,
    as_json: bool,
) -> None:
    """Print what the customer is told of the last step; of an action taken here, the very text that was
    given.

    With --acknowledged, give the values that it was shown with: the step carries the text's digest.
    """
    case = await client.cases.get(hex_bytes(case_id, ID_SIZE, "a case id"))
    given = None if values or page else case_notices.kept(client, case)
    if given is None:
        code = case_notices.code_of(case)
        if code is None:
            raise ConfigError("nothing was done yet that the customer is told of")
        notice = case_notices.letter(client, code, language, case, placeholder_values(values))
        case_notices.give(notice, page)
        given = notice.plain
    else:
        note(given.text)
    index = None
    if acknowledged:
        shown = notice_shown(given)
        index = (await client.cases.acknowledge_notice(case.case_id, shown, Grounds(officer))).index
    if as_json:
        print_json({"code": given.code, "digest": given.digest.hex(), "index": index, "text": given.text})
    else:
        click.echo(
            f"notice {given.code}, digest {given.digest.hex()}"
            + (f"; acknowledged, log entry {index}" if acknowledged else "")
        )


@cases.command()
@case_argument
@json_option
@with_client
async def finish(client: ExchangeClient, case_id: str, as_json: bool) -> None:
    """Do again what follows from a case for signals, where closing or lifting was cut short."""
    done = await client.cases.finish(hex_bytes(case_id, ID_SIZE, "a case id"))
    if as_json:
        print_json([{"kind": each.kind.name.lower(), "index": each.index} for each in done])
    else:
        click.echo(f"{len(done)} done" if done else "nothing was left to do")


@cases.command()
@case_argument
@officer_option
@json_option
@with_client
async def erase(client: ExchangeClient, case_id: str, officer: str, as_json: bool) -> None:
    """Erase your closed proceeding, at the hub and here; the log's proofs still verify."""
    index = await client.cases.erase(hex_bytes(case_id, ID_SIZE, "a case id"), officer)
    if as_json:
        print_json({"case_id": case_id, "index": index})
    else:
        click.echo(f"case {case_id} erased; log entry {index}")


@cases.command()
@watch_options
@with_client
async def watch(client: ExchangeClient, from_now: bool, count: int | None, as_json: bool) -> None:
    """Print cases of which there is news: a step, a deadline that passed, another member's customer's appeal.

    Goes on where the last watch of cases stopped; after a crash the last one may come again, none is lost.
    """
    if not as_json:
        click.echo("\t".join(case_tables.COLUMNS))

    async def line(news: CaseNews) -> str:
        if as_json:
            found = case_tables.document(client, await client.roster.roster(), news.case)
            return json.dumps(found, ensure_ascii=False)
        return "\t".join(str(cell) for cell in case_tables.row(client, news.case))

    await print_news(client.cases.watch(from_now=from_now), line, count, client.cases.handled)
