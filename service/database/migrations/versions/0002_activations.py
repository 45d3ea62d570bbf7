"""Activations of checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "activations",
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("checkpoint", sa.String(71), nullable=False),
        sa.Column("bundle", sa.Text),
        sa.Column("configured", sa.Text),
        sa.Column("by_settings", sa.Boolean, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
