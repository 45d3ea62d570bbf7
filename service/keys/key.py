"""What an API key is."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

PREFIX = "sigrl"
_ID_BYTES, _SECRET_BYTES = 6, 32


class KeyScope(StrEnum):
    """What a key is for; each may do what those before it may, too."""

    TAG = "tag"
    """Tag, explain, embed, give feedback; read vocabularies and checkpoints."""
    VOCABULARY = "vocabulary"
    """Register, change, calibrate and delete vocabularies."""
    ADMIN = "admin"
    """Load and activate checkpoints, read feedback."""

    def includes(self, needed: "KeyScope") -> bool:
        """Whether a key of this scope may do what needs that one."""
        order = list(KeyScope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Key:
    """An API key without its secret, of which only a hash is kept."""

    id: str
    """Names it in logs and lists; no secret."""
    name: str
    """What its owner is called."""
    scope: KeyScope
    rate: int | None
    """Requests a minute; None leaves it to the settings, 0 is without a limit."""
    hash: str
    """See `hash_secret`."""
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    """To within some minutes."""

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


def draw() -> tuple[str, str]:
    """(id, secret) of a new key. The secret has 256 bits."""
    return secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)


def written(key_id: str, secret: str) -> str:
    """A key as it is handed out and sent."""
    return f"{PREFIX}_{key_id}_{secret}"


def read(text: str) -> tuple[str, str] | None:
    """(id, secret) of a key as it is sent; None for anything else."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not secret or len(key_id) != 2 * _ID_BYTES or not key_id.isalnum():
        return None
    return key_id, secret


def hash_secret(secret: str) -> str:
    """SHA-256 in hex digits. Nothing slower is needed: it is passwords that can be guessed, not 256 bits
    drawn by lot."""
    return hashlib.sha256(secret.encode()).hexdigest()
