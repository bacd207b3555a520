"""The HTTP service as a real server inside a test's process."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from app.clock import monotonic_s, sleep
from app.embedded.broker import SERVICE_USER, EmbeddedBroker
from app.embedded.ports import LOOPBACK
from app.settings import Settings

_START_WITHIN_S = 10.0
#: Nothing here speaks TLS; a client that made a context of its own would read all certificates of the world for it.
_WITHOUT_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def settings_for(database_url: str) -> Settings:
    return Settings(
        environment="test",
        database_url=SecretStr(database_url),
        token_secret=SecretStr("a secret of the tests, long enough to sign with"),
        signing_key_file=Path("/not/needed/here.pem"),
        requests_per_s=100_000,  # tests are faster than people; the limits have tests of their own
        open_requests_per_s=100_000,
    )


def worker_settings_for(database_url: str, broker: EmbeddedBroker, *, signing_key_file: Path) -> Settings:
    """Settings of a worker on the embedded broker, without a port for its metrics."""
    return settings_for(database_url).model_copy(
        update={
            "signing_key_file": signing_key_file,
            "broker_host": LOOPBACK,
            "broker_port": broker.port,
            "broker_user": SERVICE_USER,
            "broker_password": SecretStr(broker.service_password),
            "worker_metrics_port": 0,
        }
    )


@contextmanager
def running(service: FastAPI) -> Iterator[httpx.Client]:
    """Serve on a loopback port for as long as the client lives."""
    listening = socket.create_server((LOOPBACK, 0), backlog=256)
    server = uvicorn.Server(uvicorn.Config(service, log_config=None, access_log=False, server_header=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    deadline_s = monotonic_s() + _START_WITHIN_S
    while not server.started and thread.is_alive() and monotonic_s() < deadline_s:
        sleep(0.01)
    try:
        assert server.started, "the HTTP service did not start"
        port = listening.getsockname()[1]
        address = f"http://{LOOPBACK}:{port}"
        with httpx.Client(base_url=address, timeout=30, verify=_WITHOUT_CERTIFICATES) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
