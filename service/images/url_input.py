"""Fetches photographs from URLs that clients send, and only from public servers."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urljoin

import httpx

from sigrl.service.errors import ImageError, ImageTooLargeError, UrlFailedError, UrlRefusedError
from sigrl.service.settings import Settings

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> the host's IP addresses; raises OSError."""

MAX_REDIRECTS = 3
MAX_URL_LENGTH = 2048
_AT_ONCE = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Networks that `ipaddress` wrongly considers global: two more notations of IPv4, NAT64 in private networks,
# and site-local addresses.
_NOT_PUBLIC = [
    ipaddress.ip_network(each) for each in ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fec0::/10")
]


async def resolve(host: str, port: int) -> Sequence[str]:
    """Looks up a host's IP addresses with the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet. IPv4 addresses embedded in an IPv6 address are
    checked too, because IPv6 has several notations for an IPv4 address of a private network."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if any(ip in network for network in _NOT_PUBLIC):
            return False
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if not all(is_public(str(each)) for each in inner if each is not None):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


class Budget:
    """The number of bytes that the photographs of one request may still have in total."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        """Subtracts `count` bytes. Raises ImageTooLargeError if fewer than that are left."""
        self.left -= count
        if self.left < 0:
            raise ImageTooLargeError(
                "the photographs of the request are together too large", "send fewer or smaller ones"
            )


class UrlFetcher:
    """Fetches photographs. For each hop, the host's addresses are looked up once, and all of them must be
    public. The connection then uses one of these addresses, so a host name that resolves to a private address
    a moment later is no use to an attacker."""

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolve = resolve,
        is_allowed: Callable[[str], bool] = is_public,
    ) -> None:
        """Tests, which have no public server, pass their own `resolve` and `is_allowed`."""
        self._seconds = settings.url_seconds
        self._ports = settings.url_ports
        self._resolve, self._is_allowed = resolve, is_allowed
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, budget: Budget) -> bytes | ImageError:
        """A photograph's file, or the error. The time limit includes the wait for other fetches."""
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                for _ in range(MAX_REDIRECTS + 1):
                    content = await self._hop(url, budget)
                    if isinstance(content, bytes):
                        return content
                    url = content
        except ImageError as error:
            return error
        except TimeoutError:
            return _failed(f"it took longer than {self._seconds:g} seconds")
        except httpx.HTTPError:
            # The text of the error is withheld, because it may reveal the response of an internal server.
            return _failed("the connection failed")
        return _failed(f"it redirects more than {MAX_REDIRECTS} times")

    async def _hop(self, url: str, budget: Budget) -> bytes | str:
        """The content at one URL, or the URL that it redirects to."""
        parsed, host, port = self._parse(url)
        address = await self._address(host, port)
        headers = {"Host": parsed.netloc.decode("ascii"), "Accept-Encoding": "identity", "Accept": "image/*"}
        client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._seconds)
        async with (
            client,
            client.stream(
                "GET",
                parsed.copy_with(host=address),
                headers=headers,
                # The certificate must be for the host name, not for the IP address.
                extensions={"sni_hostname": host},
            ) as answer,
        ):
            if answer.status_code in _REDIRECTS and "location" in answer.headers:
                try:
                    return urljoin(url, answer.headers["location"])
                except ValueError as error:
                    raise _failed("it redirects to something that is not a URL") from error
            if answer.status_code != 200:
                raise _failed(f"the server answers with status {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise _failed("the server sends a compressed response although none was accepted")
            return await self._read(answer, budget)

    async def _read(self, answer: httpx.Response, budget: Budget) -> bytes:
        content = bytearray()
        async for chunk in answer.aiter_raw():
            budget.spend(len(chunk))
            content += chunk
        return bytes(content)

    def _parse(self, url: str) -> tuple[httpx.URL, str, int]:
        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii")
        except (httpx.InvalidURL, UnicodeDecodeError, ValueError) as error:
            raise _refused("it is not a URL") from error
        port = parsed.port or {"http": 80, "https": 443}.get(parsed.scheme, 0)
        if len(url) > MAX_URL_LENGTH or parsed.scheme not in ("http", "https") or not host:
            raise _refused("it is not an http or https address, or it is too long")
        if parsed.userinfo:
            raise _refused("it contains a user name")
        if port not in self._ports:
            raise _refused(f"port {port} is not allowed")
        return parsed, host, port

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            # UnicodeError is raised for an invalid host name, such as a..b.
            raise _failed("its host is not found") from error
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise _refused("its host is not on the public internet")
        return addresses[0]


def _refused(why: str) -> UrlRefusedError:
    return UrlRefusedError(f"the URL is not fetched: {why}", "send the photograph itself")


def _failed(why: str) -> UrlFailedError:
    return UrlFailedError(f"the URL cannot be fetched: {why}", "check it, or send the photograph itself")
