"""The tables of `sigrl.service.database.database`."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, ForeignKey, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite alone would return it without a time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The value with its time zone."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class Base(DeclarativeBase):
    """The base of all tables. A change needs a migration in `service/database/migrations/versions`."""


class VocabularyRow(Base):
    """A vocabulary's name, and the numbers of its current version and calibration."""

    __tablename__ = "vocabularies"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    """The last number assigned. Responses refer to numbers, so none is used twice, even after a deletion."""
    deleted: Mapped[bool]
    """Whether it was deleted; only its numbers are kept."""
    calibrations: Mapped[int]
    """The last number assigned to a calibration; none is used twice."""
    calibration: Mapped[int | None]
    """The number of the current calibration; None if there is none."""


class VocabularyVersionRow(Base):
    """One version of a vocabulary."""

    __tablename__ = "vocabulary_versions"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    content_hash: Mapped[str] = mapped_column(String(71))
    size: Mapped[int]
    labels: Mapped[str] = mapped_column(Text)
    """JSON: a list of the labels, or an object with `labels` and the vocabulary's settings."""
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class CalibrationRow(Base):
    """One calibration of a vocabulary."""

    __tablename__ = "calibrations"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    goal: Mapped[str] = mapped_column(Text)
    """JSON."""
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class ExampleRow(Base):
    """What an example shows, in the calibrations from number `added` to before number `removed`."""

    __tablename__ = "calibration_examples"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    added: Mapped[int] = mapped_column(primary_key=True)
    removed: Mapped[int | None]
    shown: Mapped[str] = mapped_column(Text)
    """JSON: an object that maps label names to whether the label applies."""


class ExamplePhotographRow(Base):
    """A small copy of an example, from which later checkpoints compute their features."""

    __tablename__ = "example_photographs"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    """SHA-256 of the file that was sent."""
    content: Mapped[bytes]


class ExampleFeaturesRow(Base):
    """A checkpoint's features of an example, kept so that the image tower encodes it only once."""

    __tablename__ = "example_features"

    checkpoint: Mapped[str] = mapped_column(String(71), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("example_photographs.digest"), primary_key=True)
    content: Mapped[bytes]
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class FeedbackRow(Base):
    """Users' feedback on a photograph's tags."""

    __tablename__ = "feedback"

    photograph: Mapped[str] = mapped_column(String(71), primary_key=True)
    """SHA-256 of the file that was sent."""
    content: Mapped[bytes]
    """A small copy of the photograph."""
    size: Mapped[int]
    """The size of the copy, in bytes."""
    shown: Mapped[str] = mapped_column(Text)
    """JSON: an object that maps tags to whether the tag is right."""
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class KeyRow(Base):
    """An API key; see `sigrl.service.keys.key.Key`."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(String(16))
    rate: Mapped[int | None]
    hash: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ReplicaRow(Base):
    """A process that shares the database; see `sigrl.service.checkpoints.replicas`."""

    __tablename__ = "replicas"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    generation: Mapped[int]
    checkpoint: Mapped[str] = mapped_column(String(71))
    problem: Mapped[str | None] = mapped_column(Text)
    seen: Mapped[datetime] = mapped_column(UtcDateTime)


class ActivationRow(Base):
    """A change of the active checkpoint. A restart begins with the last one."""

    __tablename__ = "activations"

    generation: Mapped[int] = mapped_column(primary_key=True)
    """Assigned by the database; it increases with each activation."""
    checkpoint: Mapped[str] = mapped_column(String(71))
    bundle: Mapped[str | None] = mapped_column(Text)
    """The bundle it was loaded from, as `sigrl.service.checkpoints.bundles` names it."""
    configured: Mapped[str | None] = mapped_column(Text)
    """SIGRL_CHECKPOINT at that time. If it is changed later, the new value counts."""
    by_settings: Mapped[bool]
    created: Mapped[datetime] = mapped_column(UtcDateTime)
