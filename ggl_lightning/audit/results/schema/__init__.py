"""What results consist of: their columns, metrics and statuses, each declared once.

Everything that lists metrics or columns asks here, when it runs and not when it is imported: rows,
tables, statistics, report, logs and ``docs/columns.md``. Roles are declared by the controls that
have them (`ggl_lightning.audit.plan.controls.roles`).
"""

from ggl_lightning.audit.results.schema.column import Column, Row
from ggl_lightning.audit.results.schema.columns import (
    CASE_FIELDS,
    NO_PRIVATE_IMAGE,
    RANKS,
    RATES,
    TOP,
    UTILITY_FIELDS,
    column_of,
    columns,
    found_by_running,
    missing_without_private_image,
)
from ggl_lightning.audit.results.schema.metrics import (
    METRICS,
    Metric,
    compared_metrics,
    headline_metrics,
    leakage_metrics,
    metric_title,
    summary_metrics,
)
from ggl_lightning.audit.results.schema.statuses import Status, is_done

__all__ = [
    "CASE_FIELDS",
    "METRICS",
    "NO_PRIVATE_IMAGE",
    "RANKS",
    "RATES",
    "TOP",
    "UTILITY_FIELDS",
    "Column",
    "Metric",
    "Row",
    "Status",
    "column_of",
    "columns",
    "compared_metrics",
    "found_by_running",
    "headline_metrics",
    "is_done",
    "leakage_metrics",
    "metric_title",
    "missing_without_private_image",
    "summary_metrics",
]
