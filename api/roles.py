"""Who may hold a token. Light to import: the command line names the roles before it knows what is installed."""

from typing import Literal

HumanRole = Literal[
    "patient",
    "coordinator",
    "technician",
    "specialist",
    "translator",
    "oncologist",
    "compliance",
    "administrator",
    "witness",
]
"""Every role but `service`, which nobody signs in as. A `witness` reads the log as such, and nothing else."""
