"""The three roles of the embedded PostgreSQL, and what each may do with a database."""

import psycopg
from psycopg import sql

SUPERUSER = "postgres"
"""Makes roles and databases; the application never works as this one."""
OWNER = "caseledger_owner"
"""Owns the database and runs the migrations."""
SERVICE = "caseledger_service"
"""What the application works as; owns nothing, and has the rights that migrations give it."""
ROLES = (SUPERUSER, OWNER, SERVICE)

PLAIN = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD NULL"


def bootstrap(maintenance_url: str, database_url: str, database: str) -> None:
    """Makes owner, service and database, or brings their rights back to what they should be.

    Both URLs are the superuser's, to the database `postgres` and to the database in question.
    """
    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended('caseledger/bootstrap', 0))")
        for role in (OWNER, SERVICE):
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(role), sql.SQL(PLAIN)))
        connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
        names = {
            "database": sql.Identifier(database),
            "owner": sql.Identifier(OWNER),
            "service": sql.Identifier(SERVICE),
        }
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {database} OWNER {owner}").format(**names))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {database} TO {service}").format(**names))
        with psycopg.connect(database_url, autocommit=True) as inside:
            inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
