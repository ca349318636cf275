"""The commands on the hub's log: fetch it, verify it offline, prove and open entries, disclose a signal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from signalexchange.checkpoint import Checkpoint
from signalexchange.cli.case_tables import moment
from signalexchange.cli.common import (
    UNVERIFIED,
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    settings,
    staged_progress,
    with_client,
)
from signalexchange.cli.opened import fields, flat
from signalexchange.client import ExchangeClient
from signalexchange.collect import collect, keep_receipts
from signalexchange.cosignature import CosignatureVerifier
from signalexchange.credentials import read_file
from signalexchange.entry_payloads import parse_header, parse_payload
from signalexchange.envelope import signal_disclosure
from signalexchange.errors import ConfigError
from signalexchange.evidence import EvidenceFolder
from signalexchange.journal import Journal, Kind
from signalexchange.log_client import fork_evidence, settle_fork
from signalexchange.note import split_note
from signalexchange.roster import RosterChain
from signalexchange.sending import signals_of
from signalexchange.signals import SIGNAL_ID_SIZE
from signalexchange.tlog_proof import TlogProof
from signalexchange.v1.log_entry_pb2 import EntryType
from signalexchange.verify import verify as verify_evidence

FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def log() -> None:
    """Fetch, verify and prove the hub's log; every checkpoint is checked against those seen before."""


@log.command()
@json_option
@with_client
async def checkpoint(client: ExchangeClient, as_json: bool) -> None:
    """Print the newest checkpoint, a signed note, after checking that it extends those seen before."""
    text = await client.log.checkpoint()
    if as_json:
        print_json(_checkpoint(text))
    else:
        click.echo(text.decode(), nl=False)


@log.command()
@click.option("--settled", is_flag=True, help="It is explained: ask the log for the missing proof again.")
@json_option
def fork(settled: bool, as_json: bool) -> None:
    """Print the two signed checkpoints of a fork that this party has seen, for whoever is to judge it.

    Ends with 3 where there is one: the log's operator has to explain it. Until --settled every command that
    needs the log fails; after it the log is believed only where it proves that it extends the first of the
    two.
    """
    config = settings().config()
    if config.journal is None:
        raise ConfigError(f"{settings().config_path}: [journal] is missing")
    origin = RosterChain.start(read_file(config.trust.genesis, "trust anchor")).current.origin
    with Journal(config.journal.path, config.journal.key) as journal:
        evidence = fork_evidence(journal, origin)
        if settled:
            settle_fork(journal, origin)
    if as_json:
        print_json(None if evidence is None else [_checkpoint(text) for text in evidence])
    elif evidence is None:
        click.echo(f"no fork of {origin} was seen")
    else:
        click.echo("\n".join(text.decode() for text in evidence), nl=False)
    if evidence is not None and not settled:
        raise click.exceptions.Exit(UNVERIFIED)


@log.command()
@click.argument("folder", type=FOLDER)
@json_option
@with_client
async def fetch(client: ExchangeClient, folder: Path, as_json: bool) -> None:
    """Fetch into FOLDER what the log shows this party: rosters, leaves, openings, and the journal's receipts.

    Done again, it fetches only what is new. An auditor's openings are themselves put on the log.
    """
    with staged_progress() as report:
        newest = await collect(client, folder, report)
    receipts = keep_receipts(client.journal, folder) if settings().config().journal is not None else 0
    if as_json:
        print_json(
            {"folder": str(folder), "size": newest.size, "root": newest.root.hex(), "receipts": receipts}
        )
    else:
        click.echo(f"{newest.size} entries and {receipts} receipts are in {folder}")
        note(f"next: signalexchange log verify {folder} --genesis FILE")


@log.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--genesis",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust anchor: the first roster version, from elsewhere than the hub. Default: the configuration's.",
)
@click.option(
    "--witness", "witnesses", multiple=True, metavar="VKEY", help="Verifier key of a witness; repeat."
)
@click.option("--complete", is_flag=True, help="Fail also where something could not be checked.")
@json_option
def verify(
    folder: Path, genesis: Path | None, witnesses: tuple[str, ...], complete: bool, as_json: bool
) -> None:
    """Verify what `log fetch` put into FOLDER, from the files alone: no hub and, with --genesis, no
    configuration.

    Checks the roster chain, every checkpoint, all leaves and tiles, headers, payloads, members' signatures,
    receipts and disclosures. Ends with 3 where anything does not hold.
    """
    anchor = genesis if genesis is not None else settings().config().trust.genesis
    keys = [CosignatureVerifier.parse(vkey) for vkey in witnesses]
    with staged_progress() as progress:
        report = verify_evidence(folder, read_file(anchor, "trust anchor"), keys, progress)
    good = report.complete if complete else report.ok
    if as_json:
        print_json(report.as_dict())
    else:
        rows: list[tuple[object, ...]] = [(name, count, "") for name, count in report.verified.items()]
        rows += [("not checked", count, reason) for reason, count in report.not_checked.items()]
        rows += [("cosigned", 1, cosigned.name) for cosigned in report.cosigned]
        rows += [
            (
                "PROBLEM",
                1,
                f"{each.check}{'' if each.index is None else f', entry {each.index}'}: {each.what}",
            )
            for each in report.problems
        ]
        print_table(("what", "how many", ""), rows)
        verdict = "verified" if good else "NOT verified"
        click.echo(f"{verdict}: {report.origin}, {report.size} entries, root {report.root.hex()}")
    if not good:
        raise click.exceptions.Exit(UNVERIFIED)


@log.command()
@click.argument("index", type=click.IntRange(min=0))
@click.option("--output", type=NEW_FILE, help="Write the proof (c2sp.org/tlog-proof) to a file.")
@json_option
@with_client
async def prove(client: ExchangeClient, index: int, output: Path | None, as_json: bool) -> None:
    """Prove that entry INDEX is in the log; prints the proof in the form of c2sp.org/tlog-proof."""
    proved = await client.log.prove(index)
    text = TlogProof(proved.index, proved.hashes, proved.checkpoint).encode()
    if output is not None:
        _write(output, text)
        note(f"the proof is in {output}")
    if as_json:
        print_json(
            {
                "index": index,
                "leaf": proved.leaf.hex(),
                "hashes": [each.hex() for each in proved.hashes],
                "checkpoint": _checkpoint(proved.checkpoint),
            }
        )
    elif output is None:
        click.echo(text.decode(), nl=False)


@log.command("open")
@click.argument("indices", metavar="INDEX...", nargs=-1, required=True, type=click.IntRange(min=0))
@json_option
@with_client
async def open_(client: ExchangeClient, indices: Sequence[int], as_json: bool) -> None:
    """Open entries that concern this party, or any as an auditor, which is itself logged."""
    documents: list[dict[str, Any]] = []
    for entry in await client.log.open_entries(indices):
        header = parse_header(entry.header)
        payload = parse_payload(header.type, entry.payload)
        documents.append(
            {
                "index": entry.index,
                "type": enum_name(EntryType, header.type, "ENTRY_TYPE_"),
                "member": header.member,
                "time": header.time,
                "payload": fields(payload),
            }
        )
    if as_json:
        print_json(documents)
        return
    for document in documents:
        payload = document.pop("payload")
        document["time"] = moment(document["time"])
        print_table(("field", "value"), [*document.items(), *flat(payload)])


@log.command()
@click.argument("signal_id")
@click.option("--output", type=NEW_FILE, help="Write the disclosure (JSON) to a file.")
@click.option("--into", type=FOLDER, help="Put it into an evidence folder, where `log verify` checks it.")
@json_option
@with_client
async def disclose(
    client: ExchangeClient, signal_id: str, output: Path | None, into: Path | None, as_json: bool
) -> None:
    """Disclose one published signal of one's own, and no other of its batch, with the proof that it was
    signed.

    The disclosure shows the signal as it was sent; the record behind it is for `journal show`.
    """
    wanted = hex_bytes(signal_id, SIGNAL_ID_SIZE, "a signal id")
    found = client.journal.signal(wanted)
    sent = None if found is None else client.journal.sent(Kind.BATCH, found.batch_id)
    if sent is None or sent.index is None:
        raise ConfigError("the journal has no acknowledged signal of this id")
    batch, ids = signals_of(sent.request)
    disclosure = signal_disclosure(
        batch.statement, batch.signature, list(batch.signals), ids.index(wanted), sent.index
    )
    if into is not None:
        EvidenceFolder(into).add_disclosure(disclosure)
        note(f"the disclosure is in {into}")
    if output is not None:
        _write(output, disclosure.text().encode())
        note(f"the disclosure is in {output}")
    # The disclosure is JSON already: --json prints it also where a file was written.
    if as_json or (into is None and output is None):
        click.echo(disclosure.text(), nl=False)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from error


def _checkpoint(text: bytes) -> dict[str, Any]:
    parsed = Checkpoint.parse(split_note(text)[0])
    return {"origin": parsed.origin, "size": parsed.size, "root": parsed.root.hex(), "note": text.decode()}
