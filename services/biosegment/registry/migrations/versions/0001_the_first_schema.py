"""The first schema."""

import sqlalchemy as sa
from alembic import op

import biosegment.registry.database

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("project", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stage", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("progress", sa.LargeBinary(), nullable=True),
        sa.Column("attempt", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("failures", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "max_failures", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column(
            "lease_until", biosegment.registry.database.Instant(timezone=True), nullable=True
        ),
        sa.Column("not_before", biosegment.registry.database.Instant(timezone=True), nullable=True),
        sa.Column(
            "publish_time", biosegment.registry.database.Instant(timezone=True), nullable=True
        ),
        sa.Column("creator", sa.String(length=200), nullable=False),
        sa.Column("campaign", sa.String(length=200), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.Column("start_time", biosegment.registry.database.Instant(timezone=True), nullable=True),
        sa.Column("end_time", biosegment.registry.database.Instant(timezone=True), nullable=True),
        sa.Column(
            "update_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("name", name=op.f("uq_job_name")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_project"), ["project"], unique=False)
        batch_op.create_index("ix_job_state_kind", ["state", "kind"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("message_id", name=op.f("uq_outbox_message_id")),
    )
    op.create_table(
        "project",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_project")),
    )
    op.create_table(
        "request",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_request")),
    )
    with op.batch_alter_table("request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_request_create_time"), ["create_time"], unique=False)

    op.create_table(
        "block_failure",
        sa.Column("job", sa.String(length=200), nullable=False),
        sa.Column("block", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("failures", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quarantined", sa.Boolean(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["job.name"], name=op.f("fk_block_failure_job_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "block", name=op.f("pk_block_failure")),
    )
    op.create_table(
        "dataset",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("raw_volume", sa.String(length=250), nullable=False),
        sa.Column("label_volume", sa.String(length=250), nullable=False),
        sa.Column("shape_z", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("shape_y", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("shape_x", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("voxel_z", sa.Double(), nullable=False),
        sa.Column("voxel_y", sa.Double(), nullable=False),
        sa.Column("voxel_x", sa.Double(), nullable=False),
        sa.Column("properties", sa.JSON(), nullable=False),
        sa.Column("reference_volumes", sa.JSON(), nullable=False),
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_dataset_project_project")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_dataset")),
    )
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dataset_project"), ["project"], unique=False)

    op.create_table(
        "label_class",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column(
            "value",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("color", sa.String(length=7), nullable=False),
        sa.Column("ontology_term", sa.String(length=200), nullable=False),
        sa.CheckConstraint("value >= 0 AND value <= 253", name=op.f("ck_label_class_value")),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_label_class_project_project")
        ),
        sa.PrimaryKeyConstraint("project", "value", name=op.f("pk_label_class")),
    )
    op.create_table(
        "ledger",
        sa.Column("job", sa.String(length=200), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.LargeBinary(), nullable=False),
        sa.Column(
            "run_length", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("total", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("done", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "quarantined", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("cursor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "start_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["job"], ["job.name"], name=op.f("fk_ledger_job_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_ledger")),
    )
    op.create_table(
        "ledger_page",
        sa.Column("job", sa.String(length=200), nullable=False),
        sa.Column("page", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["job.name"], name=op.f("fk_ledger_page_job_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "page", name=op.f("pk_ledger_page")),
    )
    op.create_table(
        "model",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("architecture", sa.String(length=200), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_model_project_project")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_model")),
    )
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_project"), ["project"], unique=False)

    op.create_table(
        "run",
        sa.Column("job", sa.String(length=200), nullable=False),
        sa.Column("first", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("losses", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column(
            "lease_until", biosegment.registry.database.Instant(timezone=True), nullable=True
        ),
        sa.Column("not_before", biosegment.registry.database.Instant(timezone=True), nullable=True),
        sa.Column(
            "publish_time", biosegment.registry.database.Instant(timezone=True), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["job"], ["job.name"], name=op.f("fk_run_job_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "first", name=op.f("pk_run")),
    )
    op.create_table(
        "annotation",
        sa.Column("dataset", sa.String(length=250), nullable=False),
        sa.Column(
            "revision",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.Column("mask", sa.LargeBinary(), nullable=False),
        sa.Column(
            "mask_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column(
            "labelled_voxels", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "base_revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("seconds_spent", sa.Double(), nullable=False),
        sa.Column("strokes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_tool", sa.String(length=200), nullable=False),
        sa.Column("proposal", sa.String(length=250), nullable=False),
        sa.Column(
            "undone_revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("z_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("y_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("x_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("z_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("y_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("x_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_annotation_dataset_dataset")
        ),
        sa.PrimaryKeyConstraint("dataset", "revision", name=op.f("pk_annotation")),
    )
    with op.batch_alter_table("annotation", schema=None) as batch_op:
        batch_op.create_index("ix_annotation_undone", ["dataset", "undone_revision"], unique=False)

    op.create_table(
        "campaign",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("dataset", sa.String(length=250), nullable=False),
        sa.Column("model", sa.String(length=250), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_campaign_dataset_dataset")
        ),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name=op.f("fk_campaign_model_model")),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_campaign_project_project")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_campaign")),
    )
    with op.batch_alter_table("campaign", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_campaign_dataset"), ["dataset"], unique=False)
        batch_op.create_index(batch_op.f("ix_campaign_model"), ["model"], unique=False)
        batch_op.create_index(batch_op.f("ix_campaign_project"), ["project"], unique=False)

    op.create_table(
        "model_version",
        sa.Column("model", sa.String(length=250), nullable=False),
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("base_version", sa.String(length=250), nullable=False),
        sa.Column("weights", sa.String(length=500), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=250), nullable=False),
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job", sa.String(length=250), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_model_version_dataset_dataset")
        ),
        sa.ForeignKeyConstraint(
            ["model"], ["model.name"], name=op.f("fk_model_version_model_model")
        ),
        sa.PrimaryKeyConstraint("model", "number", name=op.f("pk_model_version")),
    )
    with op.batch_alter_table("model_version", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_version_dataset"), ["dataset"], unique=False)

    op.create_table(
        "segmentation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("dataset", sa.String(length=250), nullable=False),
        sa.Column("version", sa.String(length=250), nullable=False),
        sa.Column("volume", sa.String(length=250), nullable=False),
        sa.Column("job", sa.String(length=250), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_segmentation_dataset_dataset")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segmentation")),
        sa.UniqueConstraint("name", name=op.f("uq_segmentation_name")),
    )
    with op.batch_alter_table("segmentation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_segmentation_dataset"), ["dataset"], unique=False)

    op.create_table(
        "round",
        sa.Column("campaign", sa.String(length=250), nullable=False),
        sa.Column(
            "index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("state", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("base_version", sa.String(length=250), nullable=False),
        sa.Column("version", sa.String(length=250), nullable=False),
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rank_job", sa.String(length=250), nullable=False),
        sa.Column("train_job", sa.String(length=250), nullable=False),
        sa.Column("evaluate_job", sa.String(length=250), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.JSON(), nullable=False),
        sa.Column(
            "create_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.Column(
            "state_time", biosegment.registry.database.Instant(timezone=True), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["campaign"], ["campaign.name"], name=op.f("fk_round_campaign_campaign")
        ),
        sa.PrimaryKeyConstraint("campaign", "index", name=op.f("pk_round")),
    )
    op.create_table(
        "proposal",
        sa.Column("campaign", sa.String(length=250), nullable=False),
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "round_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("dataset", sa.String(length=250), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.Column("state", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("claimant", sa.String(length=200), nullable=False),
        sa.Column(
            "lease_until", biosegment.registry.database.Instant(timezone=True), nullable=True
        ),
        sa.Column("annotation", sa.String(length=250), nullable=False),
        sa.Column("z_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("y_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("x_start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("z_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("y_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("x_stop", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign", "round_index"],
            ["round.campaign", "round.index"],
            name=op.f("fk_proposal_campaign_round"),
        ),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_proposal_dataset_dataset")
        ),
        sa.PrimaryKeyConstraint("campaign", "number", name=op.f("pk_proposal")),
    )
    with op.batch_alter_table("proposal", schema=None) as batch_op:
        batch_op.create_index(
            "ix_proposal_round_state", ["campaign", "round_index", "state"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("proposal", schema=None) as batch_op:
        batch_op.drop_index("ix_proposal_round_state")

    op.drop_table("proposal")
    op.drop_table("round")
    with op.batch_alter_table("segmentation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_segmentation_dataset"))

    op.drop_table("segmentation")
    with op.batch_alter_table("model_version", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_version_dataset"))

    op.drop_table("model_version")
    with op.batch_alter_table("campaign", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_campaign_project"))
        batch_op.drop_index(batch_op.f("ix_campaign_model"))
        batch_op.drop_index(batch_op.f("ix_campaign_dataset"))

    op.drop_table("campaign")
    with op.batch_alter_table("annotation", schema=None) as batch_op:
        batch_op.drop_index("ix_annotation_undone")

    op.drop_table("annotation")
    op.drop_table("run")
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_project"))

    op.drop_table("model")
    op.drop_table("ledger_page")
    op.drop_table("ledger")
    op.drop_table("label_class")
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_dataset_project"))

    op.drop_table("dataset")
    op.drop_table("block_failure")
    with op.batch_alter_table("request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_request_create_time"))

    op.drop_table("request")
    op.drop_table("project")
    op.drop_table("outbox")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_state_kind")
        batch_op.drop_index(batch_op.f("ix_job_project"))

    op.drop_table("job")
