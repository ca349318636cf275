"""Commands about evidence packages: evidence verify."""

from pathlib import Path

import click

from signalexchange.cli.common import UNVERIFIED, json_option, note, print_json, print_table, settings
from signalexchange.cosignature import CosignatureVerifier
from signalexchange.credentials import read_file
from signalexchange.errors import MalformedError
from signalexchange.package import MAX_PACKAGE
from signalexchange.package_verify import verify_package
from signalexchange.tiles import write_file

OLD_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def evidence() -> None:
    """Check what members released to law enforcement, without trusting anybody."""


@evidence.command()
@click.argument("package", type=OLD_FILE)
@click.option(
    "--genesis",
    type=OLD_FILE,
    help="Trust anchor: the first roster version, from elsewhere. Default: the configuration's.",
)
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report anew, from what was checked.",
)
@click.option(
    "--witness", "witnesses", multiple=True, metavar="VKEY", help="Verifier key of a witness; repeat."
)
@json_option
def verify(
    package: Path, genesis: Path | None, page: Path | None, witnesses: tuple[str, ...], as_json: bool
) -> None:
    """Verify PACKAGE offline, from the file and a trust anchor: no hub and, with --genesis, no configuration.

    Checks the roster chain, the request and its officer's signature, every entry's proof to one checkpoint
    that the log signed, the member's signatures on its signals and steps, that matches are those it was
    shown, and that the report says what the parts say. Ends with 3 where anything does not hold.
    """
    if genesis is None and not settings().config_path.exists():
        raise click.UsageError("give the trust anchor: --genesis FILE")
    anchor = genesis if genesis is not None else settings().config().trust.genesis
    keys = [CosignatureVerifier.parse(vkey) for vkey in witnesses]
    if package.stat().st_size > MAX_PACKAGE:
        raise MalformedError(f"{package}: a package has at most {MAX_PACKAGE:,} bytes")
    trusted = read_file(anchor, "trust anchor")
    report = verify_package(read_file(package, "package"), trusted, witnesses=keys)
    if page is not None:
        write_file(page, report.page)
        note(f"the report is in {page}")
    if as_json:
        print_json(report.as_dict())
    else:
        rows: list[tuple[object, ...]] = [(name, count, "") for name, count in sorted(report.checked.items())]
        rows += [("cosigned", 1, each.name) for each in report.cosigned]
        rows += [("not checked", 1, reason) for reason in report.not_checked]
        rows += [("PROBLEM", 1, problem) for problem in report.problems]
        print_table(("what", "how many", ""), rows)
        manifest = report.manifest
        click.echo(
            f"{'verified' if report.ok else 'NOT verified'}: released by {manifest.member} to "
            f"{manifest.requester} under {manifest.instrument} {manifest.instrument_reference}; "
            f"log {report.checkpoint.origin}, {report.checkpoint.size} entries"
        )
    if not report.ok:
        raise click.exceptions.Exit(UNVERIFIED)
