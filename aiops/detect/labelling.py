"""Which labels of a series a rule's alert keeps, and whether its summary names only what there is."""

from __future__ import annotations

from collections.abc import Collection

from aiops.rulebook.alerts import AlertRule, placeholders


def check_names(rule: AlertRule, labels: Collection[str]) -> None:
    """
    Check that the rule speaks only of *labels*, the value and the limit.

    Raises:
        ValueError: `by` or the summary names something else.
    """
    known = ", ".join(labels)
    for name in rule.by:
        if name not in labels:
            raise ValueError(f"by: the metric has no label {name!r}; expected some of {known}")
    for name in placeholders(rule.summary) - {"value", "limit"}:
        if name not in (rule.by or labels):
            raise ValueError(f"summary: {{{name}}} is no label of the alert; expected value, limit, {known}")
