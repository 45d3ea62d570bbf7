"""The API key: its parts, its scopes and its text form."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

PREFIX = "sigrl"
_ID_BYTES, _SECRET_BYTES = 6, 32


class KeyScope(StrEnum):
    """What a key may do; each scope includes the ones before it."""

    TAG = "tag"
    """Tag, explain, embed, give feedback; read vocabularies and checkpoints."""
    VOCABULARY = "vocabulary"
    """Register, change, calibrate and delete vocabularies."""
    ADMIN = "admin"
    """Load and activate checkpoints, read feedback."""

    def includes(self, needed: "KeyScope") -> bool:
        """Whether this scope permits what requires the scope `needed`."""
        order = list(KeyScope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Key:
    """An API key without its secret. Only a hash of the secret is stored."""

    id: str
    """Identifies the key in logs and lists; not secret."""
    name: str
    """Name of the owner."""
    scope: KeyScope
    rate: int | None
    """Requests per minute; None for the limit of the settings, 0 for no limit."""
    hash: str
    """See `hash_secret`."""
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    """Exact to within `LAST_USED_MINUTES` of `sigrl.service.keys.store`."""

    @property
    def is_expired(self) -> bool:
        """Whether the key has expired."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


def draw() -> tuple[str, str]:
    """Generates (id, secret) of a new key. The secret has 256 random bits."""
    return secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)


def written(key_id: str, secret: str) -> str:
    """The text form of a key, as it is handed out and sent."""
    return f"{PREFIX}_{key_id}_{secret}"


def read(text: str) -> tuple[str, str] | None:
    """Parses the text form of a key into (id, secret); None if it is not a key."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not secret or len(key_id) != 2 * _ID_BYTES or not key_id.isalnum():
        return None
    return key_id, secret


def hash_secret(secret: str) -> str:
    """SHA-256 in hex digits. A slow hash would protect passwords, which can be guessed; 256 random bits
    cannot."""
    return hashlib.sha256(secret.encode()).hexdigest()
