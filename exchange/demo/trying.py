"""Commands to paste while the demo stays up."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from exchange.provision import Deployment

_EXAMPLES = 2


def commands(
    console: Console,
    deployment: Deployment,
    merchants: Mapping[str, Sequence[str]],
    proof: Sequence[str | Path],
) -> None:
    """Print them: look-ups of each member's `merchants`, its cases, and the check of the log by `proof`."""
    console.print("\nThe exchange stays up. In another terminal, in this folder, as each member:\n")
    for member, examples in merchants.items():
        config = short(deployment.party_config(member))
        console.print(f"# {member}", style="dim")
        for merchant in examples[:_EXAMPLES]:
            _line(console, f"--config {config} look-up merchant {merchant} --purpose transaction-screening")
        _line(console, f"--config {config} cases list")
    console.print("# anybody, offline", style="dim")
    _line(console, "log verify " + " ".join(str(short(p) if isinstance(p, Path) else p) for p in proof))
    console.print("\nCtrl-C ends it.")


def short(path: Path) -> Path:
    """A path as seen from the current folder, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _line(console: Console, arguments: str) -> None:
    console.print(f"signalexchange {arguments}", soft_wrap=True, markup=False)
