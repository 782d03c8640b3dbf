"""Addresses of clients, as rules and quotas tell them. Pure: no name is looked up."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=1024)
def spelled(host: str) -> str:
    """One spelling of an address of IPv6: Kafka's have the longest one. One of IPv4 inside it is
    that itself, as the client's is (X7).

    >>> spelled("0:0:0:0:0:0:0:1"), spelled("FE80::0:1%eth0"), spelled("example.org:1")
    ('::1', 'fe80::1%eth0', 'example.org:1')
    >>> spelled("::ffff:10.0.0.5"), spelled("::FFFF:a00:5")
    ('10.0.0.5', '10.0.0.5')
    """
    try:
        found = ip_address(host)
    except ValueError:
        return host
    return str(getattr(found, "ipv4_mapped", None) or found)
