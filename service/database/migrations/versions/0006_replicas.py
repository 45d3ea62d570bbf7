"""Replicas, and by which activation each answers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.String(71), nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )
