"""What closes the local S3 server to other users of the machine: of its five ports only S3's answers to a stranger.

SeaweedFS's parts speak gRPC and HTTP with one another. With these settings gRPC wants a certificate of an authority
that is made at every start, and HTTP a signed token.
"""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["write_security"]

_PARTS = ("volume", "master", "filer", "s3", "client")
_DAYS = 3650


def write_security(folder: Path) -> None:
    """`folder`/security.toml, which SeaweedFS reads where it starts, and the keys it names; for this user alone."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dmgan local S3")])
    authority = _certificate(name, name, authority_key, authority_key, is_authority=True)
    own = _certificate(name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dmgan")]), authority_key, key)
    files = {"ca.crt": _pem(authority), "server.crt": _pem(own), "server.key": _private(key)}
    lines = []
    for section in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"):
        lines += [f"[{section}]", f'key = "{secrets.token_hex(32)}"', "expires_after_seconds = 60", ""]
    lines += ["[grpc]", f'ca = "{folder / "ca.crt"}"', ""]
    for part in _PARTS:
        lines += [f"[grpc.{part}]", f'cert = "{folder / "server.crt"}"', f'key = "{folder / "server.key"}"', ""]
    files["security.toml"] = "\n".join(lines).encode()
    for file, content in files.items():
        path = folder / file
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)


def _certificate(
    issuer: x509.Name,
    subject: x509.Name,
    signing: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(signing, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
