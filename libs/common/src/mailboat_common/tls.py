"""Server certificates: any number of pairs in a watched directory, chosen by SNI (RFC 6066 3), renewed without a
restart.

A pair is `name.crt` with `name.key` (Kubernetes: `tls.crt`, `tls.key`) or `cert.pem` with `key.pem`, in the directory
itself or one below it. The first pair by name is the default for clients that send no name or an unknown one. If two
pairs cover a name, the one that expires later is used.

Rules: TLS 1.2 and newer (RFC 8996). A changed pair is loaded into a new context and swapped in only if it loads; else
the old one stays, the fault is logged once and `tls_reload_failures_total` counts it. Open sessions keep what they
have.
"""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from mailboat_common import metrics
from mailboat_common.errors import StartupError
from mailboat_common.log import get_logger

log = get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A loaded certificate with its key."""

    name: str  # path under the directory without suffix, e.g. `example.test/tls`
    names: tuple[str, ...]  # DNS names of the subjectAltName, lower case; may begin with `*.`
    not_after: float  # end of validity, seconds since the epoch
    context: ssl.SSLContext


class CertificateStore:
    """The pairs of one directory. Raises StartupError when there isn't a single usable one."""

    def __init__(self, directory: Path, reload_seconds: float = 5.0) -> None:
        self._directory = directory
        self._reload_seconds = reload_seconds
        self._pairs: dict[str, Pair] = {}
        self._stamps: dict[str, _Stamp] = {}
        self._choice = _Choice(())
        faults = self.reload()
        if not self._pairs:
            detail = "; ".join(faults) or "no pair like tls.crt and tls.key in it"
            raise StartupError(f"no usable certificate in {directory} (MB_TLS_DIR): {detail}")
        self._front = _new_context()
        self._front.sni_callback = self._choose

    def server_context(self) -> ssl.SSLContext:
        """The context for listeners: always the same object, each handshake gets the pair that is current then."""
        return self._front

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What is loaded, the default first."""
        return self._choice.pairs

    def reload(self) -> list[str]:
        """Looks at the directory now, loads what changed and returns the faults, one line each.

        A pair that failed is tried again when one of its files changes.
        """
        found = _find_pairs(self._directory)
        faults = []
        for name, (certificate, key) in found.items():
            try:
                stamp = _stamp(certificate, key)
                if stamp == self._stamps.get(name):
                    continue
                self._stamps[name] = stamp
                self._pairs[name] = _load(name, certificate, key)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                faults.append(f"{name}: {_reason(error)}")
                metrics.tls_reload_failures.inc()
                log.error("certificate pair does not load", pair=name, cause=_reason(error), kept=name in self._pairs)
            else:
                pair = self._pairs[name]
                metrics.tls_certificate_not_after.labels(name).set(pair.not_after)
                log.info("certificate loaded", pair=name, names=pair.names, not_after=pair.not_after)
        self._forget(self._pairs.keys() - found.keys())
        self._choice = _Choice(self._pairs[name] for name in sorted(self._pairs))
        return faults

    async def watch(self) -> None:
        """Reloads for ever; run it with `Lifecycle.spawn`."""
        while True:
            await asyncio.sleep(self._reload_seconds)
            await asyncio.to_thread(self.reload)

    def _forget(self, gone: set[str]) -> None:
        if len(gone) == len(self._pairs):
            return  # an emptied directory is a mistake or the middle of a swap: better an old pair than none
        for name in gone:
            del self._pairs[name]
            del self._stamps[name]
            metrics.tls_certificate_not_after.remove(name)
            log.info("certificate removed", pair=name)

    def _choose(self, session: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
        session.context = self._choice.context_for(server_name)


class _Choice:
    """An immutable answer to "which context for this name", replaced as a whole by a reload in another thread."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.pairs = tuple(pairs)
        self._by_name: dict[str, Pair] = {}
        for pair in self.pairs:
            for name in pair.names:
                other = self._by_name.get(name)
                if other is None or pair.not_after > other.not_after:
                    self._by_name[name] = pair

    def context_for(self, server_name: str | None) -> ssl.SSLContext:
        if server_name:
            name = server_name.lower().rstrip(".")
            # A wildcard covers exactly one label (RFC 9525 6.3).
            pair = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
            if pair is not None:
                return pair.context
        return self.pairs[0].context


def _find_pairs(directory: Path) -> dict[str, tuple[Path, Path]]:
    """Pair name → (certificate, key). Names that begin with a dot are Kubernetes' own (`..data`)."""
    found: dict[str, tuple[Path, Path]] = {}
    try:
        below = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [
            path
            for folder in (directory, *below)
            for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        log.error("certificate directory unreadable", directory=str(directory), cause=str(error))
        return found
    for path in files:
        if path.suffix == ".crt":
            key = path.with_suffix(".key")
        elif path.name == "cert.pem":
            key = path.with_name("key.pem")
        else:
            continue
        if key.is_file():
            found[path.relative_to(directory).with_suffix("").as_posix()] = (path, key)
    return found


def _stamp(*paths: Path) -> _Stamp:
    statuses = [path.stat() for path in paths]
    return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in statuses)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load(name: str, certificate: Path, key: Path) -> Pair:
    context = _new_context()
    # Without a password OpenSSL would ask on the terminal for an encrypted key's; with an empty one it fails.
    context.load_cert_chain(certificate, key, password="")
    leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = tuple(value.lower() for value in names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        dns_names = ()
    return Pair(name, dns_names, leaf.not_valid_after_utc.timestamp(), context)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"certificate and key don't load ({error.reason or error})"
    return str(error)
