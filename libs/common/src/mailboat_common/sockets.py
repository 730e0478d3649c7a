"""Listening sockets: dual-stack where the machine can, and a fault that names the port and the setting.

A socket is bound and listening before the event loop knows it, so a port in use is found at start, in one clear line.
"""

import errno
import socket

from mailboat_common.errors import StartupError

BACKLOG = 1024


def listening_socket(host: str, port: int, setting: str) -> socket.socket:
    """A listening, non-blocking TCP socket; TCP_NODELAY is inherited by the connections it accepts.

    `host` "" means every address of both families (one IPv6 socket that takes IPv4 too, or IPv4 alone where there is no
    IPv6). `port` 0 lets the kernel choose. `setting` is named in the StartupError when the port can't be had.
    """
    try:
        if not host:
            if _has_ipv6():
                return _bind(socket.AF_INET6, "::", port)
            return _bind(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - a mail server serves every address
        family, _type, _proto, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _bind(family, str(address[0]), port)
    except socket.gaierror as error:
        raise StartupError(f"can't listen on {host}: {error.strerror} (MB_LISTEN_HOST)") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"port {port} is in use by another process: stop it or change {setting}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise StartupError(f"port {port} needs more rights than this user has: change {setting}") from error
        raise StartupError(f"can't listen on {host or '*'} port {port} ({setting}): {error.strerror}") from error


def bound_port(listening: socket.socket) -> int:
    """The port a socket is bound to."""
    return int(listening.getsockname()[1])


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    created = socket.socket(family, socket.SOCK_STREAM)
    try:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        created.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        created.bind((host, port))
        created.listen(BACKLOG)
        created.setblocking(False)
    except BaseException:
        created.close()
        raise
    return created


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
