"""A trial deployment: `init`."""

from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError
from signalexchange.documents import Identifier
from signalexchange.roster import MEMBER_KINDS

from exchange import provision
from exchange.cli.common import NEW, json_option, plain_errors, print_json


@click.command()
@click.argument("folder", type=NEW)
@click.option("--origin", default="exchange.test/signals", show_default=True, help="Origin of the log.")
@click.option(
    "--party",
    "parties",
    multiple=True,
    metavar="ID:KIND:GROUP",
    help="A party to enrol; repeat. KIND is bank, ecommerce, payment_provider, auditor, "
    "law_enforcement or operator. "
    "Without it: two banks, a payment provider, a shop, an auditor, the police and the operator.",
)
@json_option
@plain_errors
def init(folder: Path, origin: str, parties: tuple[str, ...], as_json: bool) -> None:
    """Make a trial deployment in FOLDER: every key, certificate, roster and configuration.

    For trying things out on one machine. In a real exchange every institution makes its own keys; see
    docs/operations.md for that way.
    """
    plan = provision.Plan(origin=origin, parties=_parties(parties) or provision.FOUNDERS)
    made = provision.provision(folder, plan)
    if as_json:
        print_json(
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


def _parties(texts: tuple[str, ...]) -> tuple[provision.PartySpec, ...]:
    """The parties asked for. An id becomes the name of a folder: it is checked before anything is written."""
    kinds = (*sorted(MEMBER_KINDS), "auditor", "law_enforcement", "operator")
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
