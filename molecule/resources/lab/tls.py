"""The lab's certificate authority and the S3 server's certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.paths import write_file

if TYPE_CHECKING:
    from pathlib import Path

_VALID = timedelta(days=365)
# Clocks of host and containers are the same one; an hour is for the person who sets it back.
_SKEW = timedelta(hours=1)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def ensure_authority(lab: str, certificate: Path, key_file: Path) -> None:
    """Make the lab's authority unless it is there.

    Args:
        lab: the lab's name, for the subject.
        certificate: where the certificate goes; written last, so its presence means that both are whole.
        key_file: where the key goes.
    """
    if certificate.is_file() and key_file.is_file():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"pgdr lab {lab} authority"
    made = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_file(key_file, _pem(key), mode=0o600)
    write_file(certificate, made.public_bytes(serialization.Encoding.PEM))


def issue(names: list[str], addresses: list[str], *, certificate: Path, key_file: Path) -> bytes:
    """Issue a server certificate.

    Args:
        names: DNS names, the first is the subject.
        addresses: IPv4 addresses by which clients outside the lab's DNS reach the server.
        certificate: the authority's certificate.
        key_file: the authority's key.

    Returns:
        Certificate and key in one PEM text.
    """
    authority = x509.load_pem_x509_certificate(certificate.read_bytes())
    authority_key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)  # noqa: S101 (we wrote it; for the type)
    issuer = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(IPv4Address(address)) for address in addresses]
    made = (
        _builder(names[0], str(issuer), key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM) + _pem(key)
