"""A member's commands about disclosures: prepare, sign, submit, refuse."""

from collections.abc import Sequence
from pathlib import Path

import click

from signalexchange.cli.common import (
    TYPES,
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    settings,
    with_client,
)
from signalexchange.cli.disclosure_keys import officer_of, officer_option, write_secret
from signalexchange.client import ExchangeClient
from signalexchange.credentials import read_file, read_private
from signalexchange.disclosures import OFFICERS
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError, VerificationError
from signalexchange.package import read_package, text_of
from signalexchange.package_build import Selection, build_package
from signalexchange.package_verify import verify_package
from signalexchange.release import DecisionFile, refuse_request, release
from signalexchange.tokens import TOKEN_SIZE
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_RELEASED_PART,
    DISCLOSURE_DECISION_RELEASED_WHOLE,
    DISCLOSURE_REASON_UNSPECIFIED,
    DISCLOSURE_STATE_REQUESTED,
    DisclosureDecision,
    DisclosureReason,
)

REASONS = {
    name.removeprefix("DISCLOSURE_REASON_").lower().replace("_", "-"): value
    for name, value in DisclosureReason.items()
    if value
}
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
OLD_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("request_id", metavar="REQUEST")
@click.option(
    "--subject", "subjects", multiple=True, metavar="TYPE:VALUE", help="All own signals about it; repeat."
)
@click.option("--reference", "references", multiple=True, help="All own signals under a reference; repeat.")
@click.option("--signal", "signals", multiple=True, metavar="SIGNAL_ID", help="One own signal; repeat.")
@click.option(
    "--match", "matches", multiple=True, metavar="MATCH_ID", help="A match and the own signals in it; repeat."
)
@click.option("--case", "cases", multiple=True, metavar="CASE_ID", help="The own steps in a case; repeat.")
@click.option("--attach", "attachments", multiple=True, type=OLD_FILE, help="A file to go with it; repeat.")
@click.option("--with-references", is_flag=True, help="Release the references of the signals too.")
@click.option("--with-records", is_flag=True, help="Release the rows behind them, with raw identifiers.")
@click.option("--part", type=click.Choice(sorted(REASONS)), help="It is not all that is asked for; why.")
@click.option("--out", type=NEW_FILE, required=True, help="The decision's file, for two officers to sign.")
@json_option
@with_client
async def prepare(
    client: ExchangeClient,
    request_id: str,
    subjects: Sequence[str],
    references: Sequence[str],
    signals: Sequence[str],
    matches: Sequence[str],
    cases: Sequence[str],
    attachments: Sequence[Path],
    with_references: bool,
    with_records: bool,
    part: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Build the package that answers REQUEST, seal it, and write a decision for two officers to sign.

    Nothing is sent. The file holds the package opened: keep it as secret as what is in it. Look at what it
    releases before you sign. Whether a suspicious-transaction report was filed must never be in it.
    """
    disclosure, _ = await client.disclosures.get(hex_bytes(request_id, ID_SIZE, "a request"))
    if disclosure.state != DISCLOSURE_STATE_REQUESTED:
        raise ConfigError("the request is no longer open: signalexchange disclosures show says why")
    ids = [hex_bytes(each, ID_SIZE, "a signal id") for each in signals]
    wanted = [hex_bytes(each, ID_SIZE, "a match id") for each in matches]
    ids += [id_ for each in subjects for id_ in await _signals_about(client, each)]
    ids += [id_ for each in references for id_ in _signals_of(client, each)]
    for match_id in wanted:
        found = (await client.matches.get(match_id)).signal_ids
        ids += [id_ for id_ in found if client.journal.signal(id_) is not None]
    selection = Selection(
        signals=list(dict.fromkeys(ids)),
        matches=wanted,
        cases=[hex_bytes(each, ID_SIZE, "a case id") for each in cases],
        references=with_references,
        records=with_records,
        attachments={path.name: read_file(path, "attachment") for path in attachments},
    )
    if not (selection.signals or selection.matches or selection.cases or selection.attachments):
        raise click.UsageError(
            "name what to release, or answer with: signalexchange disclosures refuse --reason not-held"
        )
    genesis = read_file(settings().config().trust.genesis, "trust anchor")
    contents = await build_package(client, genesis, disclosure, selection)
    decision = DISCLOSURE_DECISION_RELEASED_PART if part else DISCLOSURE_DECISION_RELEASED_WHOLE
    reason = REASONS[part] if part else DISCLOSURE_REASON_UNSPECIFIED
    roster = await client.roster.roster()
    file = release(roster, disclosure.request.statement, contents, decision, reason, client.now())
    _write(out, file)
    _show(file, as_json)
    note(f"next: signalexchange disclosures sign {out} --officer KEYID, by two officers")


@click.command()
@click.argument("file", type=OLD_FILE)
@officer_option
@json_option
@with_client
async def sign(client: ExchangeClient, file: Path, officer: str, as_json: bool) -> None:
    """Sign a decision as one of two officers; shows what it releases, and writes the signature into FILE.

    The file is checked first: that its package answers the request and verifies from the trust anchor.
    """
    decision = _read(file)
    if decision.contents:
        genesis = read_file(settings().config().trust.genesis, "trust anchor")
        report = verify_package(decision.contents, genesis, decision.request)
        if not report.ok:
            raise VerificationError("the package does not verify: " + "; ".join(report.problems[:3]))
    who = officer_of(settings().config(), officer)
    roster = await client.roster.roster()
    signed = decision.sign(roster, who.key_id, who.sign, client.now())
    _write(file, signed)
    _show(signed, as_json)
    missing = len(signed.signatures) < 2
    note("another officer must sign it too" if missing else f"next: signalexchange disclosures submit {file}")


@click.command()
@click.argument("file", type=OLD_FILE)
@with_client
async def submit(client: ExchangeClient, file: Path) -> None:
    """Send a decision that two officers signed. The file can be deleted then."""
    decision = _read(file)
    if (missing := OFFICERS - len(decision.signatures)) > 0:
        raise click.UsageError(
            f"officers who have yet to sign: {missing}; signalexchange disclosures sign {file}"
        )
    receipt = await client.disclosures.decide(
        decision.request_to_hub(await client.roster.roster(), client.now())
    )
    name = enum_name(DisclosureDecision, decision.decision.decision, "DISCLOSURE_DECISION_")
    click.echo(f"{name.replace('_', ' ')}; log entry {receipt.index}")


@click.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--reason", type=click.Choice(sorted(REASONS)), required=True, help="Why nothing is released.")
@click.option("--out", type=NEW_FILE, required=True, help="The decision's file, for two officers to sign.")
@json_option
@with_client
async def refuse(client: ExchangeClient, request_id: str, reason: str, out: Path, as_json: bool) -> None:
    """Write a decision that releases nothing, for two officers to sign."""
    disclosure, _ = await client.disclosures.get(hex_bytes(request_id, ID_SIZE, "a request"))
    if disclosure.state != DISCLOSURE_STATE_REQUESTED:
        raise ConfigError("the request is no longer open: signalexchange disclosures show says why")
    file = refuse_request(disclosure.request.statement, REASONS[reason])
    _write(out, file)
    _show(file, as_json)
    note(f"next: signalexchange disclosures sign {out} --officer KEYID, by two officers")


def _show(file: DecisionFile, as_json: bool) -> None:
    """What a decision releases."""
    decision = file.decision
    parts = read_package(file.contents)[0].parts if file.contents else ()
    signers = [each.key_id for each in file.signatures]
    document = {
        "request": decision.request_id.hex(),
        "decision": enum_name(DisclosureDecision, decision.decision, "DISCLOSURE_DECISION_"),
        "reason": enum_name(DisclosureReason, decision.reason, "DISCLOSURE_REASON_")
        if decision.reason
        else "",
        "signed_by": signers,
        "contents_sha256": decision.contents_digest.hex(),
        "parts": [{"name": row.name, "bytes": row.size} for row in parts],
    }
    if as_json:
        print_json(document)
        return
    rows = [(name, value) for name, value in document.items() if not isinstance(value, list)]
    print_table(("field", "value"), [*rows, ("signed by", ", ".join(signers) or "nobody yet")])
    if parts:
        print_table(("part", "bytes"), [(row.name, row.size) for row in parts])


async def _signals_about(client: ExchangeClient, subject: str) -> list[bytes]:
    """Own signals that name a subject: TYPE:VALUE, or a token in hexadecimal digits."""
    name, divider, value = subject.partition(":")
    if divider and name in TYPES:
        (token,) = [each.value for each in await client.tokens(TYPES[name], [value])]
    else:
        token = hex_bytes(subject, TOKEN_SIZE, "a subject without TYPE: is a token, which")
    found = client.journal.signals_about(token)
    if not found:
        raise click.UsageError("the journal has no signal about one of the subjects")
    return [each.signal_id for each in found]


def _signals_of(client: ExchangeClient, reference: str) -> list[bytes]:
    found = client.journal.signals_of(reference)
    if not found:
        raise click.UsageError(f"the journal has no signal under the reference {reference!r}")
    return [each.signal_id for each in found]


def _read(path: Path) -> DecisionFile:
    return DecisionFile.parse(text_of(read_private(path, "decision's file")))


def _write(path: Path, file: DecisionFile) -> None:
    write_secret(path, file.text().encode())
