"""Whether anybody listens at an address: asked before a client that would itself wait for minutes."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

WAIT_S = 5.0


def reach(url: str) -> None:
    """Open a connection to the host of an address, or to the proxy that stands before it, and close it.

    Raises ConnectionError where nobody takes it within five seconds.
    """
    place = urlsplit(url)
    proxy = getproxies().get(place.scheme)
    if proxy and not proxy_bypass(place.netloc):
        place = urlsplit(proxy)
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname or "localhost", port), WAIT_S).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers at {place.hostname}:{port} ({error})") from error
