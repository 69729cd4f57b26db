"""Every read model of the service."""

from typing import Any

from projections import case_view, trail
from projections.model import Projection

PROJECTIONS: tuple[Projection[Any], ...] = (case_view.PROJECTION, trail.PROJECTION)
