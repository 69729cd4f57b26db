"""The composition root: opens a ledger with everything that it stands on, and closes it in reverse order.

with database(settings) as urls:                # migrate needs no more
    with opened(settings, urls) as service:     # replay
        with serving(settings, urls, service) as app:   # serve
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import psycopg
import structlog
from litestar import Litestar
from psycopg_pool import ConnectionPool

from api.app import create_app
from api.condition import Watched
from api.streaming import Places
from api.tokens import Tokens
from api.views import Views
from application.ledger import keyfiles, origin_files
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.keylock import locker
from application.ledger.pin import Pin
from application.ledger.tiles import Tiler
from application.monitor.monitor import Watch
from application.monitor.monitoring import Monitor
from application.privacy import erased_again
from application.privacy.fence import FenceFile, FenceWatch, reapply
from application.records.quota import GIB, Limits
from application.records.stores import bucket, folder
from application.records.tidying import Tidying
from application.records.vault import Vault
from application.service import Service, assemble
from caseledger import witnessed
from caseledger.clearing import FENCE, ClearingLoop, clearing, vacuum
from caseledger.data import data_directory
from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE
from caseledger.settings import Settings
from caseledger.working import working
from domain.errors import DatabaseUnavailable, Misconfigured, Unavailable, WrongOrigin
from domain.ledger.note import VerifierKey
from migrations import runner
from projections import schema
from projections.follower import Followers
from projections.refold import refold

DATABASE = "caseledger"
OLDEST_SERVER = 150_000
VIEW_TIMEOUT_S = 5.0
"""How long a read waits for the views to hold what the log holds."""
CONNECT_TIMEOUT_S = 15

log = structlog.get_logger(__name__)


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's database, as the service and as its owner."""

    service: str
    owner: str


@contextmanager
def database(settings: Settings) -> Iterator[Urls]:
    """The database that the settings name, running, migrated and with its views' tables.

    Raises:
        Misconfigured: it is too old, or a role is not what it has to be.
        DatabaseUnavailable: it does not answer.
    """
    with ExitStack() as stack:
        if settings.database_url is None or settings.owner_database_url is None:
            embedded = stack.enter_context(EmbeddedPostgres(data_directory(settings)))
            embedded.bootstrap(DATABASE)
            urls = Urls(service=embedded.url(SERVICE, DATABASE), owner=embedded.url(OWNER, DATABASE))
        else:
            urls = Urls(service=settings.database_url, owner=settings.owner_database_url)
        _check_roles(urls)
        _migrate(urls)
        yield urls


@contextmanager
def opened(settings: Settings, urls: Urls) -> Iterator[Service]:
    """The ledger of a data directory on a running database: keys read, head held against the pin, appender started.

    Raises:
        Misconfigured, WrongOrigin, HeadBehindPin, HeadForked: this database and this data directory do not belong
            together, or something was lost or changed.
    """
    data = data_directory(settings)
    keys = keyfiles.load(data, locker(settings.key_passphrase_file))
    # A database that came back from a backup knows nothing of later erasures: they come first.
    reapply(urls.owner, FenceFile(data / FENCE))
    checkpoints = Checkpoints(keys, Pin(data / "pin", *keys.trusted().checkpoint))
    store = folder(data / "vault") if settings.object_store_url is None else bucket(settings.object_store_url)
    pool: ConnectionPool[Any] = ConnectionPool(
        urls.service, min_size=1, max_size=settings.pool_connections, kwargs={"autocommit": True}, open=False
    )
    appender = Appender(urls.service, keys.origin, checkpoints)
    with pool:
        try:
            appender.start()
        except WrongOrigin:
            if keys.before or origin_files.staged(data, keys.locker) is not None:
                raise WrongOrigin(
                    "the database has another origin than the data directory: `caseledger new-origin`"
                ) from None
            raise
        try:
            policy, limits = witnessed.policy(settings), _limits(settings)
            service = assemble(keys, pool, appender, checkpoints, Vault(store), policy, limits)
            with pool.connection() as connection:
                service.cosignatures.check(connection)
            service.service_keys.begin(time.time_ns() // 1000)
            erased_again.tell(
                pool,
                service.ledger,
                service.cases,
                time.time_ns() // 1000,
                lambda subject: refold(service.ledger, pool, service.keyring, subject),
                lambda: vacuum(urls.owner),
            )
            yield service
        finally:
            appender.close()


@contextmanager
def serving(settings: Settings, urls: Urls, service: Service) -> Iterator[Litestar]:
    """Everything that serves: the views follow the log, the application answers from them, erasures are completed."""
    followers = Followers(service.ledger, service.keyring, urls.service)
    views = Views(pool=service.pool, keyring=service.keyring, wait_for=_waiting(followers))
    tokens = Tokens(service.keys.token.public_key(), service.keys.origin)
    monitor = Monitor(urls.service, Watch(service.checkpoints.pinned, _checkpoint_keys(service)))
    rounds = witnessed.rounds(settings, service)
    watched = Watched(followers=followers.states, monitor=monitor.state, witnesses=rounds.condition)
    app = create_app(
        service,
        views,
        tokens,
        watched=watched,
        places=Places(settings.uploads_at_once, settings.upload_min_bytes_s),
    )
    tiler = Tiler(urls.service)
    watch = FenceWatch(service.keyring, urls.service)
    loop = ClearingLoop(clearing(data_directory(settings), urls.owner, service))
    tidying = Tidying(service.receiving)
    watch.start()
    followers.start()
    tiler.start()
    monitor.start()
    loop.start()
    rounds.start()
    tidying.start()
    try:
        with working(urls.service, service, settings.workers):
            yield app
    finally:
        tidying.stop()
        rounds.stop()
        loop.stop()
        monitor.stop()
        tiler.stop()
        followers.stop()
        watch.stop()


def _limits(settings: Settings) -> Limits:
    """What uploads may take up."""
    return Limits(
        upload_bytes=settings.upload_max_gib * GIB,
        upload_files=settings.upload_max_files,
        case_bytes=settings.case_max_gib * GIB,
        case_files=settings.case_max_files,
    )


def _checkpoint_keys(service: Service) -> Callable[[], Sequence[VerifierKey]]:
    """The public keys of this ledger's checkpoints, present and earlier, as they are when they are asked for.

    Those of its origins before a restore are among them: what they signed stays.
    """

    def keys() -> list[VerifierKey]:
        trusted = service.checkpoints.live.files.trusted()
        return [key for log in (trusted, *trusted.others) for key in log.checkpoint]

    return keys


def _waiting(followers: Followers) -> Callable[[int], None]:
    def wait_for(position: int) -> None:
        """Return once every view holds the log's first `position` entries."""
        deadline = time.monotonic() + VIEW_TIMEOUT_S
        for state in followers.states():
            left_s = max(0.0, deadline - time.monotonic())
            if state.position < position and followers.wait_for(state.projection, position, left_s) < position:
                raise Unavailable(f"the view {state.projection} is behind the log")

    return wait_for


def _check_roles(urls: Urls) -> None:
    """Hold both addresses to the version and the roles that the ledger is safe with.

    Raises:
        Misconfigured, DatabaseUnavailable.
    """
    with _connected(urls.owner, "OWNER_DATABASE_URL") as owner:
        version = owner.info.server_version
        if version < OLDEST_SERVER:
            raise Misconfigured(f"PostgreSQL 15 or later is needed, this server is {version // 10_000}")
        place = owner.execute("SELECT current_database(), oid FROM pg_database WHERE datname = current_database()")
        owned = place.fetchone()
    with _connected(urls.service, "DATABASE_URL") as service:
        row = service.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        place = service.execute("SELECT current_database(), oid FROM pg_database WHERE datname = current_database()")
        if place.fetchone() != owned:
            raise Misconfigured("DATABASE_URL and OWNER_DATABASE_URL are of different databases")
        if service.info.user != SERVICE or row != (False,):
            raise Misconfigured(f"DATABASE_URL has to be of the role {SERVICE}, and that role no superuser")


@contextmanager
def _connected(url: str, name: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.ProgrammingError:
        raise Misconfigured(f"CASELEDGER_{name} is not an address of PostgreSQL") from None
    except psycopg.OperationalError:
        # The driver's message may quote the address, and a password with it.
        raise DatabaseUnavailable(f"the database does not answer under CASELEDGER_{name}") from None
    with connection:
        yield connection


def _migrate(urls: Urls) -> None:
    try:
        runner.upgrade(urls.owner)
        outdated = schema.install(urls.owner)
    except psycopg.errors.InsufficientPrivilege:
        raise Misconfigured(
            "migrations run as the role that owns the database: OWNER_DATABASE_URL is of another role"
        ) from None
    except psycopg.errors.UndefinedObject:
        raise Misconfigured(f"a role that the migrations need is missing: {OWNER} or {SERVICE}") from None
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"the migrations did not end: {type(error).__name__}") from None
    if outdated:
        log.warning("views.outdated", views=outdated, remedy="caseledger replay")
