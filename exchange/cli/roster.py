"""The roster's versions and the keys that sign them: `roster`, `key`."""

import asyncio
import base64
import json
from pathlib import Path

import click
from signalexchange.config import load_config as load_party_config
from signalexchange.connection import PROPOSE_ROSTER, SUSPEND, Connection, Method, Request, Response
from signalexchange.credentials import load_private_key
from signalexchange.errors import ConfigError
from signalexchange.note import Signer, add_signatures, sign_note, split_note
from signalexchange.roster import Roster
from signalexchange.v1.membership_service_pb2 import ProposeRosterVersionRequest, SuspendMemberRequest

from exchange import pki
from exchange.cli.common import FILE, FOLDER, NEW, json_option, plain_errors, print_json
from exchange.custodian.material import read_chain


@click.group()
def roster() -> None:
    """Show (which verifies), sign and install versions of the roster."""


@roster.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the newest version as JSON.")
@plain_errors
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
@plain_errors
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
@plain_errors
def roster_propose(note: Path, config: Path, rulebook: Path | None, as_json: bool) -> None:
    """Install NOTE, a version signed by the quorum, at the hub."""
    book = rulebook.read_bytes() if rulebook else b""
    request = ProposeRosterVersionRequest(note=note.read_bytes(), rulebook=book)
    answer = asyncio.run(_ask_hub(config, PROPOSE_ROSTER, request))
    if as_json:
        print_json({"index": answer.receipt.index, "checkpoint": answer.receipt.checkpoint.decode()})
    else:
        click.echo(f"installed; log entry {answer.receipt.index}")


@roster.command("suspend")
@click.argument("member")
@click.option("--config", type=FILE, required=True, help="The operator's member.toml.")
@click.option("--reason", required=True, help="Why; logged, so without personal data.")
@json_option
@plain_errors
def roster_suspend(member: str, config: Path, reason: str, as_json: bool) -> None:
    """Shut MEMBER out at once. Only a roster version that reinstates it lifts that."""
    answer = asyncio.run(_ask_hub(config, SUSPEND, SuspendMemberRequest(member=member, reason=reason)))
    if as_json:
        print_json(
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


@click.group()
def key() -> None:
    """Make signing keys."""


@key.command("new")
@click.argument("path", type=NEW)
@click.option("--name", help="Print the public half as a verifier key of this name; without it as base64.")
@json_option
@plain_errors
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
        print_json({"path": str(path), "public_key": public_key, **named})
    else:
        click.echo(verifier_key or public_key)
