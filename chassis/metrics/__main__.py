"""Print the reference of all metrics: `python -m chassis.metrics > docs/metrics.md`."""

from __future__ import annotations

import sys

from chassis.metrics.reference import reference

sys.stdout.write(reference())
