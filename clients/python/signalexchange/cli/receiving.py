"""An authority's commands about disclosures: fetch a package, assemble those of an inquiry."""

import asyncio
from html import escape
from pathlib import Path

import click

from signalexchange.cli.common import (
    UNVERIFIED,
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    settings,
    with_client,
)
from signalexchange.cli.disclosure_keys import hpke_keys, officer_of, write_secret
from signalexchange.client import ExchangeClient
from signalexchange.credentials import read_file
from signalexchange.disclosures import parse_statement
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.package_verify import PackageReport, verify_package
from signalexchange.tiles import write_file
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_STATE_RELEASED,
    Disclosure,
    DisclosureDecisionStatement,
    DisclosureReason,
    DisclosureRequestStatement,
    DisclosureState,
)

FOLDER = click.Path(file_okay=False, path_type=Path)
COLUMNS = ("member", "state", "reason", "package", "verified")
Found = tuple[Disclosure, PackageReport | str | None, str]
"""A request, what came of verifying its package or why that can't be read, and the package's file."""


@click.command()
@click.argument("request_id", metavar="REQUEST")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The package's file."
)
@click.option(
    "--officer", metavar="KEYID", help="Acknowledge it with this officer's key: the hub forgets it."
)
@json_option
@with_client
async def fetch(
    client: ExchangeClient, request_id: str, out: Path, officer: str | None, as_json: bool
) -> None:
    """Fetch the package of one request, open it, verify it and, with --officer, acknowledge it.

    Ends with 3, nothing acknowledged, where it does not verify: the file is kept for you to see why.
    """
    id_ = hex_bytes(request_id, ID_SIZE, "a request")
    _, report = await _receive(client, id_, out, officer)
    if as_json:
        print_json(report.as_dict() | {"file": str(out)})
    else:
        print_table(("what", ""), [*report.checked.items(), *(("PROBLEM", each) for each in report.problems)])
        click.echo(f"{'verified' if report.ok else 'NOT verified'}: {out}")
    if not report.ok:
        raise click.exceptions.Exit(UNVERIFIED)


@click.command()
@click.argument("inquiry_id", metavar="INQUIRY")
@click.option("--out", type=FOLDER, required=True, help="A folder for the packages and their index.")
@click.option("--officer", metavar="KEYID", help="Acknowledge each with this officer's key.")
@json_option
@with_client
async def assemble(
    client: ExchangeClient, inquiry_id: str, out: Path, officer: str | None, as_json: bool
) -> None:
    """Fetch and verify the packages of all members asked in one inquiry, and write index.html over them.

    A package that is in the folder already is verified again and not fetched. Ends with 3 where one does not
    verify or can't be read: the others are assembled all the same.
    """
    inquiry = hex_bytes(inquiry_id, ID_SIZE, "an inquiry")
    genesis = read_file(settings().config().trust.genesis, "trust anchor")
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    found: list[Found] = []
    async for disclosure in client.disclosures.all():
        statement = parse_statement(DisclosureRequestStatement, disclosure.request.statement)
        if statement.inquiry_id != inquiry:
            continue
        path = out / f"{statement.member}-{statement.request_id.hex()}.zip"
        report: PackageReport | str | None = None
        try:
            if path.exists():
                report = _verified(path.read_bytes(), genesis, disclosure.request.statement)
            elif disclosure.state == DISCLOSURE_STATE_RELEASED:
                disclosure, report = await _receive(client, statement.request_id, path, officer)
        except (MalformedError, VerificationError) as error:
            report = str(error)  # what one member sent must not keep the others' from being read
        found.append((disclosure, report, path.name if path.exists() else ""))
    if not found:
        raise ConfigError("there is no request of this inquiry: signalexchange disclosures list shows them")
    for _, report, name in found:
        if isinstance(report, PackageReport):
            write_file(out / name.replace(".zip", ".html"), report.page)
    write_file(out / "index.html", _index(inquiry, found))
    rows = [_row(*each) for each in found]
    if as_json:
        print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(COLUMNS, rows)
        note(f"open {out / 'index.html'}")
    if any(_problems(report) for _, report, _ in found):
        raise click.exceptions.Exit(UNVERIFIED)


async def _receive(
    client: ExchangeClient, request_id: bytes, path: Path, officer: str | None
) -> tuple[Disclosure, PackageReport]:
    """Fetch, keep, verify, and only then acknowledge."""
    config = settings().config()
    disclosure, package = await client.disclosures.fetch(request_id, hpke_keys(config))
    write_secret(path, package)
    genesis = read_file(config.trust.genesis, "trust anchor")
    report = _verified(package, genesis, disclosure.request.statement)
    if report.ok and officer is not None:
        await client.disclosures.acknowledge(disclosure, officer_of(config, officer))
        disclosure, _ = await client.disclosures.get(request_id)
    return disclosure, report


def _verified(package: bytes, genesis: bytes, request: bytes) -> PackageReport:
    return verify_package(package, genesis, request)


def _problems(report: PackageReport | str | None) -> list[str]:
    if report is None:
        return []
    return [report] if isinstance(report, str) else report.problems


def _row(disclosure: Disclosure, report: PackageReport | str | None, name: str) -> tuple[str, ...]:
    statement = parse_statement(DisclosureRequestStatement, disclosure.request.statement)
    reason = ""
    if disclosure.HasField("decision"):
        decision = parse_statement(DisclosureDecisionStatement, disclosure.decision.statement)
        if decision.reason:
            reason = enum_name(DisclosureReason, decision.reason, "DISCLOSURE_REASON_")
    problems = _problems(report)
    verified = "" if report is None else "NO: " + "; ".join(problems[:3]) if problems else "yes"
    state = enum_name(DisclosureState, disclosure.state, "DISCLOSURE_STATE_")
    return statement.member, state, reason, name, verified


def _index(inquiry: bytes, found: list[Found]) -> bytes:
    """A page that leads to each member's report; everything in it is escaped."""
    statement = parse_statement(DisclosureRequestStatement, found[0][0].request.statement)
    lines = []
    for disclosure, report, name in found:
        cells = [escape(cell) for cell in _row(disclosure, report, name)]
        if isinstance(report, PackageReport):
            cells[3] = f'<a href="{escape(name.replace(".zip", ".html"))}">{cells[3]}</a>'
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = "".join(
        f"<th>{name}</th>"
        for name in ("成员 member", "状态 state", "理由 reason", "证据包 package", "核验 verified")
    )
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<title>调取结果 · Inquiry</title>\n<style>@page { size: A4; margin: 18mm } table { border-collapse: "
        "collapse; width: 100% } th, td { border: 0.3mm solid #999; padding: 1.5mm; text-align: left; "
        "overflow-wrap: anywhere }</style>\n</head>\n<body>\n"
        f"<h1>调取结果 · Inquiry {inquiry.hex()}</h1>\n<p>{escape(statement.reference)}</p>\n"
        "<p>各成员仅提供自身数据；本页为信息汇总，不构成结论。 Each member released its own data alone. This "
        "page is information, not a verdict; a member that released nothing may hold nothing.</p>\n"
        f"<table><tr>{heads}</tr>{''.join(lines)}</table>\n</body>\n</html>\n"
    ).encode()
