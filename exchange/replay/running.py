"""Custodians and hub of a deployment on a replay clock: started, waited for, and moved through time.

Invariant: readers see the clock's new time whole or the old one.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from signalexchange.errors import ExchangeError
from signalexchange.roster import Budget

from exchange.provision import Deployment
from exchange.replay.processes import Crew

HUB_COMMAND = ("-m", "exchange.cli")
PARTY_COMMAND = ("-c", "from signalexchange.cli import main; main()")
_READY_SECONDS = 60.0


async def start_exchange(crew: Crew, deployment: Deployment, logs: Path) -> None:
    """Start every custodian and the hub and wait until they listen. Raises ExchangeError where they don't.

    `logs` is where the crew writes, for the message.
    """
    for name in deployment.custodian_ports:
        await crew.start(name, [*HUB_COMMAND, "custodian", "serve", str(deployment.custodian_config(name))])
    await crew.start("hub", [*HUB_COMMAND, "serve", str(deployment.hub_config)])
    try:
        async with asyncio.timeout(_READY_SECONDS):
            for port in (*deployment.custodian_ports.values(), deployment.hub_port):
                await _listening(port)
    except TimeoutError:
        raise ExchangeError(
            f"custodians and hub don't listen after {_READY_SECONDS:.0f} seconds; see {logs}"
        ) from None


def set_clock(path: Path, now: int) -> None:
    """Move the replay's clock to `now`, Unix seconds."""
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{now}\n", "ascii")
    fresh.replace(path)


def budget(identifiers: int) -> Budget:
    """What a member needs to tokenise each of so many identifiers once.

    With 2 of 3 custodians each allows half of what is declared, and asks may all fall on the same two.
    """
    return Budget(per_day=2 * identifiers, declared_customers=2 * identifiers)


async def _listening(port: int) -> None:
    """Wait until something accepts connections on this port of 127.0.0.1."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
