"""Stores an installation's feedback: photographs with right and wrong tags."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sigrl.service.database.database import Database
from sigrl.service.database.tables import FeedbackRow
from sigrl.service.errors import FeedbackFullError, FeedbackNotFoundError
from sigrl.service.vocabularies.examples import Example

_AT_ONCE = 100


@dataclass(frozen=True)
class Counts:
    """How much feedback is stored."""

    photographs: int
    bytes: int
    """Size of the stored copies."""
    right: Mapping[str, int]
    """By tag, the number of photographs for which it is right."""
    wrong: Mapping[str, int]
    """By tag, the number of photographs for which it is wrong."""


class FeedbackStore:
    """Safe to share between threads, processes and machines. All methods raise StoreError if the database
    does not respond."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Example, max_bytes: int) -> dict[str, bool]:
        """Stores feedback and returns everything now known of the photograph; for a tag, the latest feedback
        wins. Raises FeedbackFullError if the stored copies would exceed `max_bytes`."""
        try:
            return self._add(feedback, max_bytes)
        except IntegrityError:
            # Another client stored the same photograph at the same time; its row exists now.
            return self._add(feedback, max_bytes)

    def counts(self) -> Counts:
        """Counts the stored feedback."""
        rows = FeedbackRow
        right, wrong = Counter[str](), Counter[str]()
        with self._database.read() as connection:
            count, size = connection.execute(
                select(func.count(), func.sum(rows.size)).select_from(rows)
            ).one()
            for shown in connection.scalars(select(rows.shown)):
                for tag, applies in json.loads(shown).items():
                    (right if applies else wrong)[tag] += 1
        return Counts(count, int(size or 0), right, wrong)

    def all(self) -> Iterator[Example]:
        """All feedback by photographs' digests; only a hundred photographs are in memory at once."""
        rows, after = FeedbackRow, ""
        while True:
            query = select(rows.photograph, rows.content, rows.shown).where(rows.photograph > after)
            with self._database.read() as connection:
                page = connection.execute(query.order_by(rows.photograph).limit(_AT_ONCE)).all()
            if not page:
                return
            for photograph, content, shown in page:
                yield Example(photograph, content, json.loads(shown))
            after = page[-1].photograph

    def delete(self, photograph: str) -> None:
        """Deletes a photograph and its feedback. Raises FeedbackNotFoundError."""
        with self._database.write() as connection:
            gone = connection.execute(delete(FeedbackRow).where(FeedbackRow.photograph == photograph))
        if not gone.rowcount:
            raise FeedbackNotFoundError(
                f"there is no feedback on the photograph {photograph[:80]!a}",
                "use the digest `photograph` that POST /v1/feedback returned",
            )

    def _add(self, feedback: Example, max_bytes: int) -> dict[str, bool]:
        rows = FeedbackRow
        with self._database.write() as connection:
            of_photograph = rows.photograph == feedback.digest
            before = connection.scalar(select(rows.shown).where(of_photograph).with_for_update())
            shown = {**({} if before is None else json.loads(before)), **feedback.shown}
            if before is not None:
                connection.execute(update(rows).where(of_photograph).values(shown=json.dumps(shown)))
                return shown
            taken = int(connection.scalar(select(func.sum(rows.size))) or 0)
            if taken + len(feedback.photograph) > max_bytes:
                raise FeedbackFullError(
                    f"{taken:,} of {max_bytes:,} bytes are in use",
                    "export the feedback and delete what is no longer needed, or raise SIGRL_FEEDBACK_BYTES",
                )
            connection.execute(
                insert(rows).values(
                    photograph=feedback.digest,
                    content=feedback.photograph,
                    size=len(feedback.photograph),
                    shown=json.dumps(shown),
                    created=datetime.now(UTC),
                )
            )
        return shown
