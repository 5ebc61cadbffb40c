"""An evaluation is kept with what it was measured on, not among the figures of training."""

from math import isfinite

import sqlalchemy as sa
from alembic import op

from biosegment.registry.database import BigInt, Instant
from biosegment.v1 import jobs_pb2

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_VERSIONS = "SELECT model, number FROM model_version"
_BOX = ("z_start", "y_start", "x_start", "z_stop", "y_stop", "x_stop")


def upgrade() -> None:
    made = op.create_table(
        "evaluation",
        *(sa.Column(edge, BigInt, nullable=False) for edge in _BOX),
        sa.Column("id", BigInt, nullable=False),
        sa.Column("model", sa.String(250), nullable=False),
        sa.Column("number", BigInt, nullable=False),
        sa.Column("dataset", sa.String(250), nullable=False),
        sa.Column("reference_volume", sa.String(250), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("voxels", BigInt, nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("create_time", Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_evaluation_dataset_dataset")
        ),
        sa.ForeignKeyConstraint(
            ["model", "number"],
            ["model_version.model", "model_version.number"],
            name=op.f("fk_evaluation_model_model_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
    )
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.create_index("ix_evaluation_version", ["model", "number"], unique=False)
        batch_op.create_index(batch_op.f("ix_evaluation_dataset"), ["dataset"], unique=False)
    _move(made)


def _move(made: sa.Table) -> None:
    """Makes evaluations of the jobs that measured, and takes their figures out of the versions."""
    connection = op.get_bind()
    query = sa.text(
        "SELECT name, spec, result, end_time FROM job "
        "WHERE kind = :kind AND state = :state ORDER BY end_time"
    )
    asked = {"kind": jobs_pb2.JOB_KIND_EVALUATE, "state": jobs_pb2.JOB_STATE_SUCCEEDED}
    typed = query.columns(end_time=Instant(timezone=True))
    versions = {(m, n) for m, n in connection.execute(sa.text(_VERSIONS)).all()}
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    figures: dict[tuple[str, int], set[str]] = {}
    for name, spec, result, ended in connection.execute(typed, asked).all():
        job = jobs_pb2.Job.FromString(spec).evaluate_spec
        found = jobs_pb2.JobResult.FromString(result or b"").evaluate_result
        extent = _extent(connection, job.dataset)
        model, _, number = job.version.rpartition("/versions/")
        if extent is None or not number.isdigit() or (model, int(number)) not in versions:
            continue
        box = [getattr(job.box, edge) for edge in _BOX] if job.HasField("box") else extent
        metrics = {key: value for key, value in found.metrics.items() if isfinite(value)}
        figures.setdefault((model, int(number)), set()).update(metrics)
        rows[(job.version, job.dataset, job.reference_volume, *box)] = {
            **dict(zip(_BOX, box, strict=True)),
            "model": model,
            "number": int(number),
            "dataset": job.dataset,
            "reference_volume": job.reference_volume,
            "metrics": metrics,
            "voxels": found.voxels,
            "warnings": [],
            "job": name,
            "create_time": ended,
        }
    if rows:
        op.bulk_insert(made, list(rows.values()))
    for (owner, count), names in figures.items():
        _take_out(connection, owner, count, names)


def _extent(connection: sa.Connection, dataset: str) -> list[int] | None:
    query = sa.text("SELECT shape_z, shape_y, shape_x FROM dataset WHERE name = :name")
    found = connection.execute(query, {"name": dataset}).one_or_none()
    return None if found is None else [0, 0, 0, *found]


def _take_out(connection: sa.Connection, model: str, number: int, names: set[str]) -> None:
    key = {"model": model, "number": number}
    query = sa.text("SELECT metrics FROM model_version WHERE model = :model AND number = :number")
    stored = connection.execute(query.columns(metrics=sa.JSON()), key).scalar_one_or_none()
    kept = {name: value for name, value in (stored or {}).items() if name not in names}
    change = sa.text(
        "UPDATE model_version SET metrics = :metrics WHERE model = :model AND number = :number"
    ).bindparams(sa.bindparam("metrics", type_=sa.JSON()))
    connection.execute(change, {**key, "metrics": kept})


def downgrade() -> None:
    op.drop_table("evaluation")
