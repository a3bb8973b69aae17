"""Changes of a run while it trains: asked for by one process, taken and written down by the one that trains."""

from kerasbn.adjustments.asking import find_run, is_complete, is_running, request
from kerasbn.adjustments.records import Record, in_force, read_records
from kerasbn.adjustments.taking import Adjustments, Request

__all__ = [
    "Adjustments",
    "Record",
    "Request",
    "find_run",
    "in_force",
    "is_complete",
    "is_running",
    "read_records",
    "request",
]
