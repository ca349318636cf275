"""Where a process listens: its calls over mTLS, and its metrics beside them."""

import grpc
from signalexchange.errors import ConfigError
from signalexchange.settings import Metrics as MetricsSection
from signalexchange.settings import split_address

from exchange.server.telemetry import Metrics


def open_ports(
    server: grpc.aio.Server,
    listen: str,
    credentials: grpc.ServerCredentials,
    metrics: Metrics,
    metrics_section: MetricsSection | None,
) -> tuple[int, int]:
    """Bind both addresses and return the ports; the second is 0 where no metrics are to be served.

    Raises ConfigError that names the key.
    """
    try:
        port = server.add_secure_port(listen, credentials)
    except RuntimeError:
        raise ConfigError(f"listen: can't listen at {listen}") from None
    if metrics_section is None:
        return port, 0
    try:
        return port, metrics.serve(*split_address(metrics_section.listen))
    except OSError as error:
        raise ConfigError(f"metrics.listen: {error.strerror}") from None
