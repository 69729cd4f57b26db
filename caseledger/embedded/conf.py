"""The configuration of the embedded PostgreSQL: what is fixed, what may be tuned, who may connect.

Fixed are three things. It listens on the socket only. It admits by the kernel's word on the peer: the
server's user and root map to the three roles, nobody else to any. And its log holds nothing personal: no
statement, no parameter, no message of a failed statement.
"""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from caseledger.embedded.place import Place, ServerUser, ensure_directory, write_file
from caseledger.embedded.roles import ROLES
from domain.errors import Misconfigured

FIXED = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    # Below LOG nothing is written: an ERROR may quote a value ('invalid input syntax for type integer:
    # "..."').
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_duration": "off",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "log_parser_stats": "off",
    "log_planner_stats": "off",
    "log_executor_stats": "off",
    "log_statement_stats": "off",
}
COMPUTED = frozenset(
    {
        "unix_socket_directories",
        "data_directory",
        "hba_file",
        "ident_file",
        "config_file",
        "external_pid_file",
    }
)
DURABILITY = frozenset({"fsync", "synchronous_commit", "full_page_writes"})
NAME = re.compile(r"[a-z_]+(\.[a-z_]+)?")


def check_options(options: Mapping[str, str]) -> None:
    """Passes when every option is one that may be tuned.

    Raises:
        Misconfigured: a fixed setting, or not the name or value of one.
    """
    for name, value in options.items():
        if not NAME.fullmatch(name) or any(ord(c) < 32 for c in value):
            raise Misconfigured(f"{name!r} is not an option of PostgreSQL, or its value has control characters")
        if name in FIXED or name in COMPUTED or name in DURABILITY:
            raise Misconfigured(f"the option {name!r} of the embedded PostgreSQL is fixed")


def write_configuration(place: Place, sockets: Path, options: Mapping[str, str], *, durable: bool) -> None:
    """Writes the three files of `<base>/conf` anew; changes made there by hand are lost."""
    us = ServerUser("", os.geteuid(), place.user.gid)
    ensure_directory(place.conf, us, 0o750 if os.geteuid() == 0 else 0o700)
    settings = {
        **options,
        **FIXED,
        **dict.fromkeys(sorted(DURABILITY), "on" if durable else "off"),
        "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        "hba_file": str(place.conf / "pg_hba.conf"),
        "ident_file": str(place.conf / "pg_ident.conf"),
    }
    lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
    write_file(place.conf / "postgresql.conf", "".join(lines), place.user)
    write_file(place.conf / "pg_hba.conf", f"local all {','.join(ROLES)} peer map=caseledger\n", place.user)
    people = sorted({place.user.name, pwd.getpwuid(0).pw_name})
    entries = [f'caseledger "{person}" "{role}"\n' for person in people for role in ROLES]
    write_file(place.conf / "pg_ident.conf", "".join(entries), place.user)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
