"""All use cases of one ledger, wired to one database pool, vault and set of key files."""

from typing import Any

import msgspec
from psycopg_pool import ConnectionPool

from application.accesses import Accesses
from application.bundles import Bundles
from application.cases import Cases
from application.documents.documents import Documents
from application.keys.service_keys import ServiceKeys
from application.keys.signing_keys import SigningKeys
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.keks import Keks
from application.ledger.keyfiles import KeyFiles
from application.ledger.keyring import Keyring
from application.ledger.recorder import LedgerRecorder
from application.ledger.store import Ledger
from application.log_accesses import LogAccesses
from application.opinions import Opinions
from application.pictures.pictures import Pictures
from application.privacy.erasure import Erasures
from application.privacy.holds import LegalHolds
from application.privacy.requests import PrivacyRequests
from application.reading import Reading
from application.records.blob_keys import BlobKeys, RecordSealer
from application.records.intake import Intake
from application.records.quota import Limits
from application.records.receiving import Receiving
from application.records.resumable import Resumable
from application.records.vault import Vault
from application.sandbox.room import Room
from application.sandbox.sandbox import Sandbox
from application.shares import Shares
from application.specialists import Specialists
from application.witness import post_quantum
from application.witness.cosignatures import Cosignatures
from application.work.derived import Derived
from application.work.imaging_checks import ImagingChecks
from domain.ledger.cosignature_policy import Policy


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What the API, the command line and the views are given."""

    keys: KeyFiles
    pool: ConnectionPool[Any]
    keyring: Keyring
    checkpoints: Checkpoints
    ledger: Ledger
    cases: Cases
    accesses: Accesses
    log_accesses: LogAccesses
    reading: Reading
    signing_keys: SigningKeys
    service_keys: ServiceKeys
    specialists: Specialists
    opinions: Opinions
    shares: Shares
    receiving: Receiving
    imaging_checks: ImagingChecks
    pictures: Pictures
    documents: Documents
    bundles: Bundles
    cosignatures: Cosignatures
    privacy: PrivacyRequests
    holds: LegalHolds
    erasures: Erasures
    vault: Vault
    keks: Keks
    sandbox: Sandbox


def assemble(
    keys: KeyFiles,
    pool: ConnectionPool[Any],
    appender: Appender,
    checkpoints: Checkpoints,
    vault: Vault,
    policy: Policy | None = None,
    limits: Limits | None = None,
) -> Service:
    """Wire the use cases; the caller owns, starts and closes pool and appender."""
    keks = Keks(keys.place / "keys", keys.locker)
    keyring = Keyring(pool, keys.kek, keks.read)
    recorder = LedgerRecorder(pool, appender, checkpoints)
    ledger = Ledger(recorder, keys, keyring)
    cases = Cases(ledger, keyring)
    accesses = Accesses(ledger, cases)
    blob_keys = BlobKeys(pool, keyring)
    sealer = RecordSealer(keyring)
    derived, sandbox = Derived(pool, keyring), Sandbox()
    # Requests that draw what no job has drawn yet, pictures and documents together: six of the API's threads at most.
    room = Room(at_once=2, waiting=4, patience_s=10.0)
    intake = Intake(pool, vault, sealer, limits=limits)
    signing_keys = SigningKeys(pool, ledger, keyring, keys.origin)
    service_keys = ServiceKeys(pool, ledger, keyring, checkpoints.live, keys.origin)
    specialists = Specialists(ledger, keyring)
    cosignatures = Cosignatures(checkpoints, post_quantum.load(keys.place, keys.origin, keys.locker), policy)
    holds = LegalHolds(ledger, cases, accesses)
    privacy = PrivacyRequests(ledger, cases, accesses, holds)
    return Service(
        keys=keys,
        pool=pool,
        keyring=keyring,
        checkpoints=checkpoints,
        ledger=ledger,
        cases=cases,
        accesses=accesses,
        log_accesses=LogAccesses(ledger, keyring, keys.preparation),
        reading=Reading(ledger, accesses, vault, blob_keys),
        signing_keys=signing_keys,
        service_keys=service_keys,
        specialists=specialists,
        opinions=Opinions(ledger, keys, cases, signing_keys, specialists),
        shares=Shares(ledger, cases, accesses),
        receiving=Receiving(cases, intake, blob_keys, Resumable(intake, vault, sealer), vault),
        imaging_checks=ImagingChecks(ledger, cases, accesses, vault, blob_keys),
        documents=Documents(cases, accesses, vault, blob_keys, derived, sandbox, room),
        pictures=Pictures(ledger, cases, accesses, vault, blob_keys, derived, sandbox, room),
        bundles=Bundles(pool, ledger, checkpoints, accesses, service_keys, cosignatures, keys.origin),
        cosignatures=cosignatures,
        privacy=privacy,
        holds=holds,
        erasures=Erasures(pool, ledger, keyring, cases, privacy, holds),
        vault=vault,
        keks=keks,
        sandbox=sandbox,
    )
