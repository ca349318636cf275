"""The commands on the journal: from signals, tokens and references to each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from signalexchange.cli.common import (
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    settings,
    with_client,
)
from signalexchange.client import ExchangeClient
from signalexchange.errors import ConfigError, RefusedError
from signalexchange.journal import Journal, Kind, Sent, SignalNote
from signalexchange.sealed_store import create_key
from signalexchange.signals import SIGNAL_ID_SIZE
from signalexchange.tokens import TOKEN_SIZE

SENT = (Kind.BATCH, Kind.ORDER, Kind.REPORT, Kind.STEP)


@click.group()
def journal() -> None:
    """Look into the encrypted local journal, and send again what is undecided."""


@contextmanager
def _open() -> Iterator[Journal]:
    config = settings().config()
    if config.journal is None:
        raise ConfigError(f"{settings().config_path}: [journal] is missing")
    with Journal(config.journal.path, config.journal.key) as opened:
        yield opened


@journal.command()
def init() -> None:
    """Write a new random key to the configured file, mode 0600; the journal itself is made when first used.

    Keep a copy of it elsewhere: without the key nothing leads from a signal back to its customer.
    """
    config = settings().config()
    if config.journal is None:
        raise ConfigError(f"{settings().config_path}: [journal] is missing")
    create_key(config.journal.key)
    click.echo(f"wrote {config.journal.key}")


@journal.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List every batch, withdrawal, report of outcomes and step of a case, oldest first of each."""
    with _open() as opened:
        everything = [sent for kind in SENT for sent in opened.history(kind)]
    _show(everything, as_json)


@journal.command()
@json_option
def pending(as_json: bool) -> None:
    """List what was prepared and not acknowledged; `journal resume` sends it again."""
    with _open() as opened:
        undecided = opened.pending()
    _show(undecided, as_json)


@journal.command()
@click.argument("signal_id")
@json_option
def show(signal_id: str, as_json: bool) -> None:
    """Show what the journal has on one signal of one's own, its record and salt included."""
    wanted = hex_bytes(signal_id, SIGNAL_ID_SIZE, "a signal id")
    with _open() as opened:
        found = opened.signal(wanted)
    if found is None:
        raise click.UsageError("the journal has no signal of this id")
    document = _note(found)
    if as_json:
        print_json(document)
    else:
        print_table(("field", "value"), list(document.items()))


@journal.command()
@click.option("--token", help="A token, 64 hexadecimal digits.")
@click.option("--reference", help="A reference of one's own.")
@json_option
def find(token: str | None, reference: str | None, as_json: bool) -> None:
    """Find signals and references by a token, or signals and tokens by a reference."""
    if (token is None) == (reference is None):
        raise click.UsageError("give either --token or --reference")
    with _open() as opened:
        if token is not None:
            value = hex_bytes(token, TOKEN_SIZE, "a token")
            notes, references, tokens = opened.signals_about(value), opened.references(value), [value]
        else:
            notes, references = opened.signals_of(reference or ""), [reference or ""]
            tokens = opened.tokens(reference or "")
    document = {
        "signals": [_note(each) for each in notes],
        "references": references,
        "tokens": [each.hex() for each in tokens],
    }
    if as_json:
        print_json(document)
        return
    rows = [("signal", each.signal_id.hex(), f"{each.code}, {each.reference}") for each in notes]
    rows += [("reference", each, "") for each in references] + [("token", each.hex(), "") for each in tokens]
    print_table(("what", "value", "more"), rows)


@journal.command()
@json_option
@with_client
async def resume(client: ExchangeClient, as_json: bool) -> None:
    """Send again, byte for byte, what was prepared and not acknowledged.

    What is refused and may be stored all the same, or may yet pass, stays pending.
    """
    outcomes = await client.resume_pending()
    refused = [each for each in outcomes if isinstance(each, RefusedError)]
    if as_json:
        done = len(outcomes) - len(refused)
        print_json({"acknowledged": done, "refused": [str(each) for each in refused]})
    else:
        click.echo(f"{len(outcomes) - len(refused)} acknowledged, {len(refused)} refused")
    for each in refused:
        note(f"refused: {each}")
    if refused:
        raise click.exceptions.Exit(1)


def _show(everything: list[Sent], as_json: bool) -> None:
    if as_json:
        print_json([_sent(each) for each in everything])
        return
    rows = [
        (each.kind.name.lower(), each.id.hex(), each.state, _index(each), each.problem) for each in everything
    ]
    print_table(("kind", "id", "state", "log entry", "problem"), rows)


def _sent(sent: Sent) -> dict[str, Any]:
    return {
        "kind": sent.kind.name.lower(),
        "id": sent.id.hex(),
        "state": sent.state,
        "index": sent.index,
        "checkpoint": sent.checkpoint.decode(errors="replace"),
        "problem": sent.problem,
    }


def _index(sent: Sent) -> str:
    return "-" if sent.index is None else str(sent.index)


def _note(found: SignalNote) -> dict[str, Any]:
    return {
        "signal_id": found.signal_id.hex(),
        "batch_id": found.batch_id.hex(),
        "code": found.code,
        "reference": found.reference,
        "tokens": [token.hex() for token in found.tokens],
        "record": found.record.decode(),
        "salt": found.salt.hex(),
    }
