"""Free ports of this machine for the parts that are started here."""

import random
import socket

LOOPBACK = "127.0.0.1"

#: Below the range from which the kernel takes ports for outgoing connections, so that none takes ours back.
_LISTENING_PORTS = range(20_000, 32_000)
_ATTEMPTS = 200


def free_port() -> int:
    """Return a TCP port on which nothing listens on the loopback address.

    Raises:
        OSError: every port tried was taken.
    """
    for port in random.SystemRandom().sample(_LISTENING_PORTS, _ATTEMPTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port in {_ATTEMPTS} tries between {_LISTENING_PORTS[0]} and {_LISTENING_PORTS[-1]}")
