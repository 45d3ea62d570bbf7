"""Checks API keys and rate limits before any of the request body is read."""

import base64
import ipaddress
import math
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from sigrl.service.batching.threads import in_database_thread
from sigrl.service.errors import InvalidKeyError, MissingKeyError, RateError, ScopeError, TaggerError
from sigrl.service.http.problems import refusal
from sigrl.service.http.scopes import declared
from sigrl.service.http.state import ServiceState
from sigrl.service.keys.key import Key, KeyScope
from sigrl.service.keys.rates import NEW_LABELS, Rates
from sigrl.service.keys.ring import KeyRing
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings

GUARDED = "/v1/"


class Guard:
    """Lets a request to /v1 through if its key, its scope and its rate are allowed."""

    def __init__(
        self, app: ASGIApp, settings: Settings, state: ServiceState, routers: Sequence[APIRouter]
    ) -> None:
        """`routers`: all routers with routes below /v1."""
        self.app = app
        self._settings, self._state = settings, state
        self._routes = [route for router in routers for route in router.routes]
        self._rates = Rates()
        self._new_labels = Rates()
        self._ring: KeyRing | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and self._is_guarded(scope):
            try:
                await self._check(scope)
            except TaggerError as error:
                await refusal(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_guarded(self, scope: Scope) -> bool:
        """Whether the path is below /v1, even if the application is mounted under another one, or matches a
        guarded route."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return path.startswith(GUARDED) or any(
            route.matches(scope)[0] is not Match.NONE for route in self._routes
        )

    async def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        key = None
        if _needs_key(self._settings, scope, headers):
            key = await self._key(headers)
            scope["state"]["key_id"] = key.id
            needed = self._needed(scope)
            if not key.scope.includes(needed):
                raise ScopeError(
                    f"this needs a key of scope `{needed}`, and the key has the scope `{key.scope}`",
                    f"`sigrl key create NAME --scope {needed}` makes one",
                )
        self._limit(scope, key)
        if key is not None and key.scope is KeyScope.TAG and self._settings.new_labels_per_minute:
            NEW_LABELS.set(partial(self._charge_labels, key.id))

    async def _key(self, headers: Headers) -> Key:
        kind, _, text = headers.get("authorization", "").partition(" ")
        if not text:
            raise MissingKeyError(
                "the request has no API key",
                "send `Authorization: Bearer KEY`; on the server, `sigrl key create NAME` makes a key",
            )
        if kind.lower() == "basic":
            text = _password(text)
        elif kind.lower() != "bearer":
            raise InvalidKeyError(
                f"an API key cannot be sent as {kind[:20]!a}", "send `Authorization: Bearer KEY`"
            )
        if self._ring is None:
            self._ring = KeyRing(KeyStore(self._state.vocabularies.database))
        return await in_database_thread(self._ring.check, text.strip())

    def _needed(self, scope: Scope) -> KeyScope:
        """The scope that the route declares, or ADMIN if it declares none or the route is unknown."""
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return declared(route) or KeyScope.ADMIN
        return KeyScope.ADMIN

    def _charge_labels(self, key_id: str, count: int) -> None:
        """Counts `count` new labels for the key. Raises RateError if that is too many."""
        per_minute = self._settings.new_labels_per_minute
        if wait := self._new_labels.take(key_id, per_minute, count):
            raise RateError(
                f"more than {per_minute:,} new labels a minute",
                "ask an operator to register the labels as a vocabulary, or to raise "
                "SIGRL_NEW_LABELS_PER_MINUTE",
                retry_after=math.ceil(wait),
            )

    def _limit(self, scope: Scope, key: Key | None) -> None:
        rate = self._settings.rate_per_minute if key is None or key.rate is None else key.rate
        if not rate:
            return
        client = scope.get("client")
        who = f"key {key.id}" if key is not None else f"address {client[0] if client else ''}"
        if wait := self._rates.take(who, rate):
            raise RateError(
                f"more than {rate} requests a minute",
                "send several photographs in one request, or ask an operator for a higher rate",
                retry_after=math.ceil(wait),
            )


def _password(credentials: str) -> str:
    """The password of HTTP Basic credentials, which clients send that know no bearer tokens."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError as error:
        raise InvalidKeyError(
            "the Basic credentials are not base64", "send the key as the password"
        ) from error


def needs_keys(settings: Settings) -> bool:
    """Whether every request needs a key, by setting or because the service listens beyond loopback."""
    return settings.keys == "required" or (settings.keys == "auto" and not _is_loopback(settings.host))


def _needs_key(settings: Settings, scope: Scope, headers: Headers) -> bool:
    """Whether this request needs a key.

    If the service listens on a loopback address, a request needs no key only if it comes from a loopback
    address and its Host header names one. The Host header is checked because another site can make its own
    domain name resolve to 127.0.0.1 (DNS rebinding).
    """
    if settings.keys == "off" or needs_keys(settings):
        return settings.keys != "off"
    client = scope.get("client")
    try:
        asked = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return True
    return not (client and _is_loopback(client[0]) and asked and _is_loopback(asked))


def _is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
