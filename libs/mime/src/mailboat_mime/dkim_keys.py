"""DKIM keys: making, keeping and publishing them (RFC 6376 3.6, RFC 8301, RFC 8463).

Two algorithms: rsa-sha256 with 2048 bits, which every verifier knows, and ed25519-sha256. rsa-sha1 and RSA keys below
1024 bits are refused (RFC 8301 3). A private key shows in no repr.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

RSA_BITS = 2048
RSA_LEAST_BITS = 1024
RSA_MOST_BITS = 4096  # a verifier need not take more (RFC 8301 3.2), and a key of any size is a bill for us

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Algorithm(enum.Enum):
    """The value of a= (RFC 6376 3.3, RFC 8463 3)."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """The value of k= in the key record."""
        return self.value.partition("-")[0]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key in use: what d=, s= and a= say, and the private key itself."""

    domain: str
    selector: str
    algorithm: Algorithm
    private: PrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """The signature of SHA-256(data): PKCS #1 v1.5 for RSA; Ed25519 signs the hash itself (RFC 8463 3)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(hashlib.sha256(data).digest())


class RecordError(ValueError):
    """A key record that no signature can be verified with. Its text is ours, and says why."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A published key. `p` is the base64 text without spaces, "" for a revoked key; `testing` is the flag t=y."""

    algorithm: Algorithm
    p: str
    testing: bool = False
    strict: bool = False

    def public(self) -> PublicKey:
        """The key. Raises RecordError."""
        if not self.p:
            raise RecordError("the key is revoked (empty p=)")
        try:
            data = base64.b64decode(self.p, validate=True)
            if self.algorithm is Algorithm.ED25519:
                return ed25519.Ed25519PublicKey.from_public_bytes(data)
            key = serialization.load_der_public_key(data)
        except (binascii.Error, ValueError, UnsupportedAlgorithm):
            raise RecordError("p= holds no key of the type that k= names") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise RecordError("p= holds no key of the type that k= names")
        if not RSA_LEAST_BITS <= key.key_size <= RSA_MOST_BITS:
            raise RecordError(f"the RSA key has {key.key_size} bits (RFC 8301: 1024 to 4096)")
        return key


def generate(algorithm: Algorithm) -> PrivateKey:
    """A new private key. An RSA key takes some 100 ms of CPU."""
    if algorithm is Algorithm.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def to_pem(key: PrivateKey) -> str:
    """PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def from_pem(pem: str) -> PrivateKey:
    """What `to_pem` wrote. Raises ValueError."""
    key = serialization.load_pem_private_key(pem.encode("ascii"), None)
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError("neither an RSA nor an Ed25519 key")
    return key


def public_text(key: PrivateKey) -> str:
    """The value of p=: SubjectPublicKeyInfo for RSA (RFC 6376 3.6.1), the bare 32 octets for Ed25519 (RFC 8463 4)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        data = key.public_key().public_bytes_raw()
    else:
        data = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return base64.b64encode(data).decode("ascii")


def record_text(algorithm: Algorithm, p: str) -> str:
    """The TXT record to publish, in one piece (a zone file splits it into strings of up to 255 octets)."""
    return f"v=DKIM1; k={algorithm.key_type}; p={p}"


def parse_record(text: str) -> KeyRecord:
    """A key record (RFC 6376 3.6.1). Raises RecordError."""
    tags = parse_tags(text)
    if tags.get("v", "DKIM1") != "DKIM1":
        raise RecordError("it isn't of version DKIM1")
    if "p" not in tags:
        raise RecordError("it has no p=")
    key_type = tags.get("k", "rsa")
    algorithm = next((a for a in Algorithm if a.key_type == key_type), None)
    if algorithm is None:
        raise RecordError("k= names a type of key that nobody knows")
    if "sha256" not in _list(tags.get("h", "sha256")):
        raise RecordError("h= doesn't allow sha256")
    if not {"*", "email"} & set(_list(tags.get("s", "*"))):
        raise RecordError("s= doesn't allow mail")
    flags = _list(tags.get("t", ""))
    return KeyRecord(algorithm, "".join(tags["p"].split()), "y" in flags, "s" in flags)


def parse_tags(text: str) -> dict[str, str]:
    """A tag list (RFC 6376 3.2), values without the white space around them. Raises RecordError."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name or name in tags:
            raise RecordError("its tags aren't of the form name=value; name=value")
        tags[name] = value.strip()
    return tags


def is_valid(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is the key's over `data`."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            digest = hashes.Hash(hashes.SHA256())
            digest.update(data)
            key.verify(signature, digest.finalize())
    except InvalidSignature:
        return False
    return True


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(":")]
