"""Calibrations of vocabularies by examples."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates the tables, and the column of the vocabularies that names the calibration in force."""
    op.add_column("vocabularies", sa.Column("calibrations", sa.Integer, nullable=False, server_default="0"))
    op.add_column("vocabularies", sa.Column("calibration", sa.Integer))
    op.create_table(
        "calibrations",
        sa.Column("name", sa.String(64), sa.ForeignKey("vocabularies.name"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("goal", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "calibration_examples",
        sa.Column("name", sa.String(64), sa.ForeignKey("vocabularies.name"), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("added", sa.Integer, primary_key=True),
        sa.Column("removed", sa.Integer),
        sa.Column("shown", sa.Text, nullable=False),
    )
    op.create_table(
        "example_photographs",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "example_features",
        sa.Column("checkpoint", sa.String(71), primary_key=True),
        sa.Column("digest", sa.String(71), sa.ForeignKey("example_photographs.digest"), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
