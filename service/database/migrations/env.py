"""Run by Alembic, in the transaction that `sigrl.service.database.database` opened."""

from alembic import context

from sigrl.service.database.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
