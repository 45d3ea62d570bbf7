"""Checks API keys without a database query for every request."""

import hmac
import logging
import time
from collections import OrderedDict
from contextlib import suppress
from threading import Lock

from sigrl.service.errors import InvalidKeyError, StoreError
from sigrl.service.keys.key import Key, hash_secret, read
from sigrl.service.keys.store import KeyStore

FRESH_SECONDS = 5.0
"""How long a database result is cached, and so how long a revoked key can still work."""
STALE_SECONDS = 600.0
"""How long it is cached while the database does not respond."""
_MAX_KNOWN = 10_000
_NOBODYS = hash_secret("")

_logger = logging.getLogger("sigrl")


class KeyRing:
    """Checks keys. Thread-safe; its memory is bounded."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[float, Key | None]] = OrderedDict()

    def check(self, text: str) -> Key:
        """Returns the key that `text` represents. Raises InvalidKeyError if it is malformed, unknown, revoked
        or expired, and StoreError if the database does not respond and the cache cannot tell."""
        parts = read(text)
        if parts is None:
            raise InvalidKeyError(
                "the request's API key is malformed", "send it as `sigrl key create` printed it"
            )
        key_id, secret = parts
        key = self._find(key_id)
        # A comparison in constant time, even for an unknown key, so that timing reveals nothing.
        is_right = hmac.compare_digest(hash_secret(secret), _NOBODYS if key is None else key.hash)
        if key is None or not is_right or key.is_expired:
            raise InvalidKeyError(
                "the key is unknown, revoked or expired", "ask for a new one: `sigrl key create NAME`"
            )
        return key

    def _find(self, key_id: str) -> Key | None:
        now = time.monotonic()
        with self._lock:
            asked, key = self._known.get(key_id, (-STALE_SECONDS, None))
        if now - asked < FRESH_SECONDS:
            return key
        try:
            found = self._store.find(key_id)
            if found is not None:
                # The key is good, whether its use can be noted or not.
                with suppress(StoreError):
                    self._store.note_use(found)
        except StoreError:
            if key is not None and now - asked < STALE_SECONDS:
                return key
            raise
        with self._lock:
            self._known[key_id] = now, found
            self._known.move_to_end(key_id)
            while len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return found
