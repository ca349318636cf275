"""Adding services to a server by name alone.

grpc.aio keeps one future for the next call of every *registered* method and waits for all of them anew after
each call, so that every call pays for every method there is. Handlers found by name are waited for once, and
the gate remembers them anyway.
"""

from typing import Any

import grpc


class ByName:
    """A grpc.aio server as generated code sees it when it adds a service."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Not wanted: the same handlers come as generic ones."""
