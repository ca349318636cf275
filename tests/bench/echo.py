"""The baseline of every call: a bare grpc.aio server over mTLS that answers a fixed number of bytes.

Run as `python -m tests.bench.echo TLS_FOLDER ANSWER_SIZE`; it prints its port and serves until
it is terminated.
"""

import asyncio
import sys
from pathlib import Path

import grpc

METHOD = "/echo.Echo/Echo"


async def serve(tls: Path, answer_size: int) -> None:
    answer = bytes(answer_size)

    async def echo(_request: bytes, _context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        return answer

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo)
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo.Echo", handlers)])
    credentials = grpc.ssl_server_credentials(
        [((tls / "tls.key").read_bytes(), (tls / "tls.pem").read_bytes())],
        (tls / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
