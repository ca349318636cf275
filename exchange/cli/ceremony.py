"""Token keys: `ceremony deal`, `ceremony cosign`."""

from pathlib import Path

import click
from signalexchange.credentials import load_private_key
from signalexchange.note import Signer

from exchange.cli.common import FILE, FOLDER, NEW, json_option, plain_errors, print_json
from exchange.custodian import ceremony
from exchange.custodian.material import read_chain


@click.group("ceremony")
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
@plain_errors
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
        print_json({"manifest": str(dealt.manifest), "shares": shares})
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
@plain_errors
def cosign(
    manifest: Path, rosters: Path, shares: tuple[Path, ...], key: Path, name: str, as_json: bool
) -> None:
    """Verify MANIFEST and this custodian's own shares (Feldman), then add its signature to the file."""
    roster = read_chain(rosters).current
    ceremony.cosign(roster, shares, manifest, Signer.from_private_key(name, load_private_key(key)))
    if as_json:
        print_json({"manifest": str(manifest), "signed_by": name})
    else:
        click.echo(f"{manifest}: verified and signed by {name}")
