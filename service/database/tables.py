"""The tables of `sigrl.service.database.database`."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, ForeignKey, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, which SQLite would give back without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """With its zone."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class Base(DeclarativeBase):
    """All tables. Whoever changes them adds a migration to `service/database/migrations/versions`."""


class VocabularyRow(Base):
    """A vocabulary's name, and where its history stands."""

    __tablename__ = "vocabularies"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    """The latest number given out. No number is given twice, not even after a deletion: answers name them."""
    deleted: Mapped[bool]
    """Nothing but the number is left of it."""
    calibrations: Mapped[int]
    """The same for its calibrations."""
    calibration: Mapped[int | None]
    """The one in force; None: it has none."""


class VocabularyVersionRow(Base):
    """What a vocabulary was from one change to the next."""

    __tablename__ = "vocabulary_versions"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    content_hash: Mapped[str] = mapped_column(String(71))
    size: Mapped[int]
    labels: Mapped[str] = mapped_column(Text)
    """JSON: a list of them, or an object of these and of what the vocabulary says of all of them."""
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class CalibrationRow(Base):
    """What a vocabulary's examples were fitted to, from one calibration to the next."""

    __tablename__ = "calibrations"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    goal: Mapped[str] = mapped_column(Text)
    """JSON."""
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class ExampleRow(Base):
    """What a photograph shows, for the calibrations from `added` on and before `removed`."""

    __tablename__ = "calibration_examples"

    name: Mapped[str] = mapped_column(ForeignKey("vocabularies.name"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    added: Mapped[int] = mapped_column(primary_key=True)
    removed: Mapped[int | None]
    shown: Mapped[str] = mapped_column(Text)
    """JSON: by the label's name whether it applies."""


class ExamplePhotographRow(Base):
    """A small copy of an example, for checkpoints to come."""

    __tablename__ = "example_photographs"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    """SHA-256 of the file that was sent."""
    content: Mapped[bytes]


class ExampleFeaturesRow(Base):
    """An example as a checkpoint sees it, so that it is put through the image tower once."""

    __tablename__ = "example_features"

    checkpoint: Mapped[str] = mapped_column(String(71), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("example_photographs.digest"), primary_key=True)
    content: Mapped[bytes]
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class FeedbackRow(Base):
    """What users say of a photograph's tags."""

    __tablename__ = "feedback"

    photograph: Mapped[str] = mapped_column(String(71), primary_key=True)
    """SHA-256 of the file that was sent."""
    content: Mapped[bytes]
    """A small copy of it."""
    size: Mapped[int]
    """Of the copy, in bytes."""
    shown: Mapped[str] = mapped_column(Text)
    """JSON: by the tag whether it is right."""
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
    """A change of the checkpoint that answers; the last one is what a restart begins with."""

    __tablename__ = "activations"

    generation: Mapped[int] = mapped_column(primary_key=True)
    """Given by the database, greater each time."""
    checkpoint: Mapped[str] = mapped_column(String(71))
    bundle: Mapped[str | None] = mapped_column(Text)
    """Where it was loaded from, as `sigrl.service.checkpoints.bundles` names it."""
    configured: Mapped[str | None] = mapped_column(Text)
    """SIGRL_CHECKPOINT at that time: who changes it later wants the new one."""
    by_settings: Mapped[bool]
    created: Mapped[datetime] = mapped_column(UtcDateTime)
