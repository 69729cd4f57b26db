"""All use cases of one ledger, wired to one database pool, vault and set of key files."""

from typing import Any

import msgspec
from psycopg_pool import ConnectionPool

from application.accesses import Accesses
from application.bundles import Bundles
from application.cases import Cases
from application.imaging_checks import ImagingChecks
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.keyfiles import KeyFiles
from application.ledger.keyring import Keyring
from application.ledger.recorder import LedgerRecorder
from application.ledger.store import Ledger
from application.opinions import Opinions
from application.reading import Reading
from application.records.blob_keys import BlobKeys, RecordSealer
from application.records.intake import Intake
from application.records.receiving import Receiving
from application.records.vault import Vault
from application.shares import Shares
from application.signing_keys import SigningKeys
from application.specialists import Specialists


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What the API, the command line and the views are given."""

    keys: KeyFiles
    pool: ConnectionPool[Any]
    keyring: Keyring
    checkpoints: Checkpoints
    ledger: Ledger
    cases: Cases
    accesses: Accesses
    reading: Reading
    signing_keys: SigningKeys
    specialists: Specialists
    opinions: Opinions
    shares: Shares
    receiving: Receiving
    imaging_checks: ImagingChecks
    bundles: Bundles


def assemble(
    keys: KeyFiles, pool: ConnectionPool[Any], appender: Appender, checkpoints: Checkpoints, vault: Vault
) -> Service:
    """Wire the use cases; the caller owns, starts and closes pool and appender."""
    keyring = Keyring(pool, keys.kek)
    recorder = LedgerRecorder(pool, appender, checkpoints)
    ledger = Ledger(recorder, keys, keyring)
    cases = Cases(ledger, keyring)
    accesses = Accesses(ledger, cases)
    blob_keys = BlobKeys(pool, keyring)
    signing_keys = SigningKeys(ledger, keyring, keys.origin)
    specialists = Specialists(ledger, keyring)
    return Service(
        keys=keys,
        pool=pool,
        keyring=keyring,
        checkpoints=checkpoints,
        ledger=ledger,
        cases=cases,
        accesses=accesses,
        reading=Reading(ledger, accesses, vault, blob_keys),
        signing_keys=signing_keys,
        specialists=specialists,
        opinions=Opinions(ledger, keys, cases, signing_keys, specialists),
        shares=Shares(ledger, cases, accesses),
        receiving=Receiving(cases, Intake(pool, vault, RecordSealer(keyring)), blob_keys),
        imaging_checks=ImagingChecks(cases, vault, blob_keys),
        bundles=Bundles(pool, ledger, checkpoints, accesses, keys.origin),
    )
