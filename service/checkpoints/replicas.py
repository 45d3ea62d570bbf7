"""Which processes share a database, and which activation each of them uses."""

import os
import secrets
import socket
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from sigrl.service.database.database import Database
from sigrl.service.database.tables import ReplicaRow
from sigrl.service.schemas.checkpoints import ReplicaInfo

LIVE_SECONDS = 15.0
"""A replica that has not reported for this long counts as gone."""
_FORGOTTEN = timedelta(hours=1)


def new_id() -> str:
    """A unique name for this process: host, process id, and four random hex digits."""
    return f"{socket.gethostname()[:80]}-{os.getpid()}-{secrets.token_hex(2)}"


class Replicas:
    """The table of replicas. All methods raise StoreError."""

    def __init__(self, database: Database, replica: str) -> None:
        """`replica`: the name of this replica."""
        self._database, self.replica = database, replica

    def tell(self, generation: int, checkpoint: str, problem: str | None) -> None:
        """Records that this replica is running, and which activation and checkpoint it uses."""
        rows, now = ReplicaRow, datetime.now(UTC)
        values = {"generation": generation, "checkpoint": checkpoint, "problem": problem, "seen": now}
        with self._database.write() as connection:
            known = connection.execute(update(rows).where(rows.id == self.replica).values(**values))
            if not known.rowcount:
                connection.execute(insert(rows).values(id=self.replica, **values))
            connection.execute(delete(rows).where(rows.seen < now - _FORGOTTEN))

    def leave(self) -> None:
        """Records that this replica is gone."""
        with self._database.write() as connection:
            connection.execute(delete(ReplicaRow).where(ReplicaRow.id == self.replica))

    def live(self) -> list[ReplicaInfo]:
        """All running replicas, by name."""
        rows = ReplicaRow
        since = datetime.now(UTC) - timedelta(seconds=LIVE_SECONDS)
        query = select(rows.id, rows.generation, rows.checkpoint, rows.problem, rows.seen)
        with self._database.read() as connection:
            found = connection.execute(query.where(rows.seen >= since).order_by(rows.id)).all()
        return [ReplicaInfo.model_validate(row._asdict()) for row in found]
