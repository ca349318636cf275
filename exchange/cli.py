"""The command `exchange-hub`: what operators, custodians and governance run. The composition root.

Exit codes: 0 done, 1 refused or not verified, 2 wrong use, 74 storage failed (docs/operations.md). Errors are
one line on standard error that says what to do.
"""

import os

# Set before gRPC is imported: its own lines on standard error would stand between the JSON lines of the log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import asyncio
import base64
import gc
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click
from pydantic import TypeAdapter, ValidationError
from signalexchange.config import load_config as load_party_config
from signalexchange.connection import PROPOSE_ROSTER, SUSPEND, Connection, Method, Request, Response
from signalexchange.credentials import load_private_key
from signalexchange.documents import Identifier
from signalexchange.errors import ConfigError, ExchangeError
from signalexchange.note import Signer, add_signatures, sign_note, split_note
from signalexchange.roster import MEMBER_KINDS, Roster
from signalexchange.v1.membership_service_pb2 import ProposeRosterVersionRequest, SuspendMemberRequest

from exchange import pki, provision
from exchange.custodian import ceremony
from exchange.custodian import config as custodian_config
from exchange.custodian import process as custodian_process
from exchange.custodian.material import read_chain
from exchange.demo.run import DemoOptions
from exchange.demo.run import run as run_demo
from exchange.scenario.city import Size
from exchange.scenario.command import run as run_scenario
from exchange.server import app as hub
from exchange.server import config as hub_config

P = ParamSpec("P")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)
"""A file or folder that need not exist yet."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def _plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what project or system refuses into one line and exit code 1; a defect is not hidden."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ExchangeError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="partner-signal-exchange")
def main() -> None:
    """Run and administer the partner-signal exchange."""


@main.command()
@click.argument("folder", type=NEW)
@click.option("--origin", default="exchange.test/signals", show_default=True, help="Origin of the log.")
@click.option(
    "--party",
    "parties",
    multiple=True,
    metavar="ID:KIND:GROUP",
    help="A party to enrol; repeat. KIND is bank, ecommerce, payment_provider, auditor or operator. "
    "Without it: two banks, a payment provider, a shop, an auditor and the operator.",
)
@json_option
@_plain_errors
def init(folder: Path, origin: str, parties: tuple[str, ...], as_json: bool) -> None:
    """Make a trial deployment in FOLDER: every key, certificate, roster and configuration.

    For trying things out on one machine. In a real exchange every institution makes its own keys; see
    docs/operations.md for that way.
    """
    plan = provision.Plan(origin=origin, parties=_parties(parties) or provision.FOUNDERS)
    made = provision.provision(folder, plan)
    if as_json:
        _print_json(
            {
                "hub": str(made.hub_config),
                "custodians": {name: str(made.custodian_config(name)) for name in plan.custodians},
                "parties": {party.id: str(made.party_config(party.id)) for party in plan.parties},
            }
        )
        return
    click.echo(f"A trial deployment is in {folder}. Start each of these in a terminal of its own:\n")
    for custodian in plan.custodians:
        click.echo(f"  exchange-hub custodian serve {_relative(made.custodian_config(custodian))}")
    click.echo(f"  exchange-hub serve {_relative(made.hub_config)}")
    click.echo("\nThen try, as one of the members:\n")
    for member in made.members[:1]:
        click.echo(f"  signalexchange --config {_relative(made.party_config(member.id))} doctor")


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _parties(texts: tuple[str, ...]) -> tuple[provision.PartySpec, ...]:
    """The parties asked for. An id becomes the name of a folder: it is checked before anything is written."""
    kinds = (*sorted(MEMBER_KINDS), "auditor", "operator")
    specs: dict[str, provision.PartySpec] = {}
    for text in texts:
        match text.split(":"):
            case [id_, kind, group] if kind in kinds:
                for identifier in (id_, group):
                    _check_identifier(text, identifier)
                if id_ in specs:
                    raise click.UsageError(f"--party {text}: the id {id_} is given twice")
                specs[id_] = provision.PartySpec(id_, kind, group)  # type: ignore[arg-type]
            case _:
                raise click.UsageError(f"--party {text}: ID:KIND:GROUP with KIND one of {', '.join(kinds)}")
    return tuple(specs.values())


def _check_identifier(option: str, text: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(text)
    except ValidationError:
        raise click.UsageError(
            f"--party {option}: {text!r} is not an id: 1 to 63 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit"
        ) from None


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@main.command()
@click.argument("config", type=FILE)
@_plain_errors
def serve(config: Path) -> None:
    """Run the hub that CONFIG, a TOML file, describes, until SIGTERM; SIGHUP reads the key manifest again.

    The certificate, its key and the callers' authority are read again by themselves when they change.
    """
    loaded = hub_config.load_config(config)
    # What start-up allocated stays: freezing it spares the collector from walking it again and again.
    gc.freeze()
    sys.exit(asyncio.run(hub.serve(loaded)))


@main.group()
def custodian() -> None:
    """Run a custodian, which holds one share of every token key."""


@custodian.command("serve")
@click.argument("config", type=FILE)
@_plain_errors
def custodian_serve(config: Path) -> None:
    """Run the custodian that CONFIG, a TOML file, describes, until SIGTERM; SIGHUP reads its files again.

    Changed files are read by themselves: roster, manifest and shares within seconds, TLS files at handshakes.
    """
    asyncio.run(custodian_process.serve(custodian_config.load_config(config)))


@main.group("ceremony")
def ceremony_group() -> None:
    """Deal token keys in shares, verify them, co-sign the key manifest."""


@ceremony_group.command()
@click.argument("folder", type=NEW)
@click.option(
    "--roster",
    "rosters",
    type=FOLDER,
    required=True,
    help="Folder of the roster's notes, 0001.note and so on.",
)
@click.option(
    "--type", "types", multiple=True, required=True, help="Identifier type to deal a key for; repeat."
)
@click.option("--epoch", type=click.IntRange(1), required=True, help="Epoch of the new keys.")
@click.option(
    "--generation",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Higher than before where keys of the same type and epoch are dealt again.",
)
@click.option("--valid-from", type=int, required=True, help="Unix seconds.")
@click.option("--valid-until", type=int, required=True, help="Unix seconds, not included.")
@click.option("--previous", type=FILE, help="The manifest in force, whose keys stay listed.")
@json_option
@_plain_errors
def deal(
    folder: Path,
    rosters: Path,
    types: tuple[str, ...],
    epoch: int,
    generation: int,
    valid_from: int,
    valid_until: int,
    previous: Path | None,
    as_json: bool,
) -> None:
    """Deal new keys into FOLDER: a manifest to be signed, and a file of shares for each custodian.

    Run by the dealer, who is not the operator, on a machine that is wiped afterwards. Threshold and
    custodians are the roster's. Hand each custodian its own file and nobody else's.
    """
    roster = read_chain(rosters).current
    specs = [ceremony.KeySpec(name, epoch, valid_from, valid_until, generation) for name in types]
    before = ceremony.read_manifest(previous, roster) if previous else None
    dealt = ceremony.deal(roster, specs, folder, before)
    if as_json:
        shares = {name: str(path) for name, path in dealt.shares.items()}
        _print_json({"manifest": str(dealt.manifest), "shares": shares})
        return
    click.echo(f"manifest, to be signed by every custodian: {dealt.manifest}")
    for name, path in dealt.shares.items():
        click.echo(f"shares for {name} alone: {path}")


@ceremony_group.command()
@click.argument("manifest", type=FILE)
@click.option("--roster", "rosters", type=FOLDER, required=True, help="Folder of the roster's notes.")
@click.option(
    "--shares", type=FILE, multiple=True, required=True, help="A share file of this custodian; repeat."
)
@click.option("--key", type=FILE, required=True, help="This custodian's signing key, PEM.")
@click.option("--name", required=True, help="This custodian's id on the roster.")
@json_option
@_plain_errors
def cosign(
    manifest: Path, rosters: Path, shares: tuple[Path, ...], key: Path, name: str, as_json: bool
) -> None:
    """Verify MANIFEST and this custodian's own shares (Feldman), then add its signature to the file."""
    roster = read_chain(rosters).current
    ceremony.cosign(roster, shares, manifest, Signer.from_private_key(name, load_private_key(key)))
    if as_json:
        _print_json({"manifest": str(manifest), "signed_by": name})
    else:
        click.echo(f"{manifest}: verified and signed by {name}")


@main.group()
def roster() -> None:
    """Show (which verifies), sign and install versions of the roster."""


@roster.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the newest version as JSON.")
@_plain_errors
def roster_show(folder: Path, as_json: bool) -> None:
    """Verify the chain of notes in FOLDER and show its newest version."""
    chain = read_chain(folder)
    current = chain.current
    if as_json:
        click.echo(current.text(), nl=False)
        return
    click.echo(f"version {current.version} of {current.origin}; {len(chain.versions)} version(s) verified")
    click.echo(f"quorum {current.governance.quorum} of {len(current.governance.keys)} governance keys")
    for party in current.parties:
        click.echo(f"  {party.kind:17} {party.id:20} group {party.group}")
    for each in current.custodians:
        click.echo(f"  custodian {each.index:<7} {each.id:20} group {each.group}")


@roster.command("sign")
@click.argument("draft", type=FILE)
@click.option("--key", type=FILE, required=True, help="A governance key, PEM.")
@click.option("--name", required=True, help="Name of the key, as it stands in the roster's governance keys.")
@_plain_errors
def roster_sign(draft: Path, key: Path, name: str) -> None:
    """Sign DRAFT, a roster's JSON or a note that others have signed already, in place.

    The draft is checked and put into its canonical form first.
    """
    signer = Signer.from_private_key(name, load_private_key(key))
    data = draft.read_bytes()
    if b"\n\n" in data:
        Roster.parse(split_note(data)[0])
        signed = add_signatures(data, [signer])
    else:
        signed = sign_note(_roster_from_draft(draft, data).text(), [signer])
    draft.write_bytes(signed)
    click.echo(f"{draft}: signed by {name}")


def _roster_from_draft(path: Path, data: bytes) -> Roster:
    try:
        text = json.dumps(json.loads(data), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    return Roster.parse(text)


@roster.command("propose")
@click.argument("note", type=FILE)
@click.option("--config", type=FILE, required=True, help="The operator's member.toml.")
@click.option("--rulebook", type=FILE, help="The rulebook the version names, where it changed.")
@json_option
@_plain_errors
def roster_propose(note: Path, config: Path, rulebook: Path | None, as_json: bool) -> None:
    """Install NOTE, a version signed by the quorum, at the hub."""
    book = rulebook.read_bytes() if rulebook else b""
    request = ProposeRosterVersionRequest(note=note.read_bytes(), rulebook=book)
    answer = asyncio.run(_ask_hub(config, PROPOSE_ROSTER, request))
    if as_json:
        _print_json({"index": answer.receipt.index, "checkpoint": answer.receipt.checkpoint.decode()})
    else:
        click.echo(f"installed; log entry {answer.receipt.index}")


@roster.command("suspend")
@click.argument("member")
@click.option("--config", type=FILE, required=True, help="The operator's member.toml.")
@click.option("--reason", required=True, help="Why; logged, so without personal data.")
@json_option
@_plain_errors
def roster_suspend(member: str, config: Path, reason: str, as_json: bool) -> None:
    """Shut MEMBER out at once. Only a roster version that reinstates it lifts that."""
    answer = asyncio.run(_ask_hub(config, SUSPEND, SuspendMemberRequest(member=member, reason=reason)))
    if as_json:
        _print_json(
            {
                "member": member,
                "index": answer.receipt.index,
                "checkpoint": answer.receipt.checkpoint.decode(),
            }
        )
    else:
        click.echo(f"{member} is suspended; log entry {answer.receipt.index}")


async def _ask_hub(config: Path, method: Method[Request, Response], request: Request) -> Response:
    """One call to the hub under the certificate of a party's configuration."""
    party = load_party_config(config)
    connection = Connection(party.hub.target, party.tls.files, server_name=party.hub.server_name)
    try:
        return await connection.call(method, request)
    finally:
        await connection.close()


@main.group()
def key() -> None:
    """Make signing keys."""


@key.command("new")
@click.argument("path", type=NEW)
@click.option("--name", help="Print the public half as a verifier key of this name; without it as base64.")
@json_option
@_plain_errors
def key_new(path: Path, name: str | None, as_json: bool) -> None:
    """Make an Ed25519 key in PATH (PEM, mode 0600) and print its public half for the roster."""
    try:
        made = pki.write_signing_key(path)
    except FileExistsError:
        raise ConfigError(f"{path}: exists; a key is never overwritten") from None
    public_key = base64.b64encode(made.public_key().public_bytes_raw()).decode()
    verifier_key = Signer.from_private_key(name, made).verifier.vkey if name else None
    if as_json:
        named = {"verifier_key": verifier_key} if verifier_key else {}
        _print_json({"path": str(path), "public_key": public_key, **named})
    else:
        click.echo(verifier_key or public_key)


@main.command()
@click.option("--folder", type=NEW, default=Path("var/demo"), show_default=True, help="Where it happens.")
@click.option("--transactions", type=FILE, help="CSV or Parquet to replay; without it seeded data is made.")
@click.option("--keep", is_flag=True, help="Leave the exchange up at the end and print commands to try.")
@_plain_errors
def demo(folder: Path, transactions: Path | None, keep: bool) -> None:
    """Run the exchange end to end: custodians, hub, four members, an auditor, on a replay clock."""
    sys.exit(run_demo(DemoOptions(folder=folder, transactions=transactions, keep=keep)))


_SIZE = Size()


@main.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same city.")
@click.option("--folder", type=NEW, required=True, help="Gets a folder a member, and truth.json.")
@click.option("--people", type=int, default=_SIZE.people, show_default=True)
@click.option("--merchants", type=int, default=_SIZE.merchants, show_default=True)
@click.option("--days", type=int, default=_SIZE.days, show_default=True)
@_plain_errors
def scenario(seed: int, folder: Path, people: int, merchants: int, days: int) -> None:
    """Make a city with honest life and planted cash-out, as the four members of a trial see it.

    Each member's folder gets flows.parquet, which holds what that member knows and nothing else; truth.json
    says who is who and who took part in which case. docs/scenario.md describes the world.
    """
    members = {party.id: party.kind for party in provision.FOUNDERS if party.kind in MEMBER_KINDS}
    run_scenario(seed, folder, Size(people=people, merchants=merchants, days=days), members)


if __name__ == "__main__":
    main()
