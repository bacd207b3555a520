"""A real Mosquitto of a test's own, started with the configuration that is deployed."""

import getpass
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import ssl
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.clock import Clock, monotonic_s, sleep
from app.embedded.broker import SERVICE_USER, connect_packet
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.mqtt.client import BrokerAddress
from app.terminals.rules import SALT_BYTES, mosquitto_hash, mosquitto_lines

DEPLOYED = Path(__file__).resolve().parents[1] / "deploy"
_READY_WITHIN_S = 15.0
_LETS_IN = b"\x20\x02\x00\x00"


class Mosquitto:
    """One Mosquitto on the loopback address, with certificates of its own.

    Args:
        folder: where configuration, users, certificates and log live.
        acl: rights other than those that are deployed.
        certificates: whether a second listener, at ``certificates_port``, takes terminals with certificates.
    """

    def __init__(self, folder: Path, *, acl: str | None = None, certificates: bool = False) -> None:
        self._folder = folder
        self._passwords = folder / "passwords"
        self._process: Child | None = None
        self._lines = ""
        self.port = free_port()
        self.authority = folder / "authority.pem"
        self.service_password = secrets.token_urlsafe(24)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "acl").write_text(acl or (DEPLOYED / "mosquitto.acl").read_text())
        self.terminals_authority = Authority("Wattgate test authority")
        certify(folder, self.terminals_authority)
        self.revoke()
        self.certificates_port = free_port() if certificates else None
        self._write_configuration()
        self._write_passwords()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> BrokerAddress:
        """Where and as whom the service connects."""
        return BrokerAddress(
            host=LOOPBACK,
            port=self.port,
            user=SERVICE_USER,
            password=self.service_password,
            ca_file=self.authority,
        )

    def start(self) -> None:
        command = [_program(), "-c", str(self._folder / "mosquitto.conf")]
        self._process = Child(command, log=self._folder / "mosquitto.log")
        self._wait_for_a_probe()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(within_s=5)
            self._process = None

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._running.kill()
        self._process = None

    def freeze(self) -> None:
        self._running.signal(signal.SIGSTOP)

    def set_users(self, terminals: Mapping[str, str], *, service: bool = True) -> None:
        """Let in these terminals with these passwords in clear; a running broker reads it at once."""
        users = dict(terminals) | ({SERVICE_USER: self.service_password} if service else {})
        self.read(mosquitto_lines({user: _hashed(word) for user, word in users.items()}))

    def read(self, lines: str) -> None:
        """Take in a list of users as ``wattgate broker-users`` writes it."""
        self._lines = lines
        self._write_passwords()
        if self._process is not None:
            self._running.signal(signal.SIGHUP)
            self._wait_for_a_probe()

    def revoke(self, *serial_numbers: int) -> None:
        """Let these certificates of terminals count no more; a running broker knows it at once."""
        (self._folder / "revoked.pem").write_bytes(self.terminals_authority.revocations(serial_numbers))
        if self._process is not None:
            self.read(self._lines)

    @property
    def _running(self) -> Child:
        assert self._process is not None, "Mosquitto does not run"
        return self._process

    def _write_configuration(self) -> None:
        written = self._own((DEPLOYED / "mosquitto.conf").read_text(), port=self.port)
        if self.certificates_port is not None:
            second = (DEPLOYED / "mosquitto-certificates.conf").read_text()
            written += self._own(second, port=self.certificates_port)
        # Started as root it would become a user who cannot read this folder.
        (self._folder / "mosquitto.conf").write_text(f"{written}user {getpass.getuser()}\n")

    def _own(self, deployed: str, *, port: int) -> str:
        """Put this machine's port and paths in place of the container's."""
        own = {
            "listener": f"{port} {LOOPBACK}",
            "certfile": self._folder / "certificate.pem",
            "keyfile": self._folder / "key.pem",
            "password_file": self._passwords,
            "acl_file": self._folder / "acl",
            "cafile": self.authority,
            "crlfile": self._folder / "revoked.pem",
        }
        options = (line.partition(" ") for line in deployed.splitlines())
        return "".join(f"{option} {own.get(option, value)}\n" for option, _, value in options)

    def _write_passwords(self) -> None:
        self._probe = (f"probe-{secrets.token_hex(4)}", secrets.token_hex(8))
        name, word = self._probe
        self._passwords.write_text(self._lines + mosquitto_lines({name: _hashed(word)}))
        self._passwords.chmod(0o600)

    def _wait_for_a_probe(self) -> None:
        """Wait until the user who is new in the newest list is let in."""
        until_s = monotonic_s() + _READY_WITHIN_S
        while not self._lets_in(*self._probe):
            assert not self._running.ended, f"Mosquitto has ended:\n{self._running.log_tail()}"
            assert monotonic_s() < until_s, f"Mosquitto does not answer:\n{self._running.log_tail()}"
            sleep(0.02)

    def _lets_in(self, user: str, password: str) -> bool:
        try:
            with (
                socket.create_connection((LOOPBACK, self.port), timeout=1) as plain,
                ssl.create_default_context(cafile=self.authority).wrap_socket(
                    plain, server_hostname=LOOPBACK
                ) as link,
            ):
                link.sendall(connect_packet(user, password=password))
                return link.recv(4) == _LETS_IN
        except OSError:
            return False


def _hashed(password: str) -> str:
    return mosquitto_hash(password, salt=secrets.token_bytes(SALT_BYTES))


class Authority:
    """Signs certificates, and takes them back."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        own = x509.BasicConstraints(ca=True, path_length=0)
        unsigned = self._certificate(self._name, self._key.public_key()).add_extension(own, critical=True)
        self.certificate = unsigned.sign(self._key, hashes.SHA256())

    def issue(self, folder: Path, *, common_name: str, name: str = "") -> int:
        """Write ``certificate.pem`` and ``key.pem``, with a name before them; returns the serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        unsigned = self._certificate(_named(common_name), key.public_key()).add_extension(names, critical=False)
        signed = unsigned.sign(self._key, hashes.SHA256())
        (folder / f"{name}certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}key.pem").write_bytes(private)
        return signed.serial_number

    def revocations(self, serial_numbers: Collection[int]) -> bytes:
        now = Clock().now()
        listed = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        listed = listed.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=1))
        for number in serial_numbers:
            one = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
            listed = listed.add_revoked_certificate(one)
        return listed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = Clock().now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )


def certify(folder: Path, authority: Authority) -> None:
    """Write the authority's certificate, and the broker's with its key."""
    (folder / "authority.pem").write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    authority.issue(folder, common_name="broker")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _program() -> str:
    # Debian puts it where only root looks.
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found is not None, "these tests need Mosquitto 2: on Debian, apt-get install mosquitto"
    return found
