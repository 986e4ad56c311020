"""What the pages of an analysis have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.commands.report import Report


def told(facts: Mapping[str, Any], report: Report) -> bool:
    """Say where there is too little data, or which fits failed. Returns whether there is anything to show."""
    if "too_little" in facts:
        report.add_text(f"Too little data: {facts['too_little']}.")
        return False
    for name, reason in facts.get("failed", {}).items():
        report.add_text(f"Not computed: {name}: {reason}. Run the command again to try once more.")
    return True
