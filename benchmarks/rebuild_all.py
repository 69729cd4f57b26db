"""rebuild-all: every view of the service from the log, beside the live ones, compared and swapped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

from benchmarks.events import populate
from benchmarks.ground import Ground
from benchmarks.library import LibraryCases, assign, library, opened_case
from benchmarks.model import Benchmark, Pair
from projections.follower import Followers
from projections.rebuild import rebuild


class _Trivial(Projection[PostgresTrackingRecorder]):
    """The least that a projection of the library can do: it says how far it is."""

    name = "trivial"

    def process_event(self, domain_event: Any, tracking: Any) -> None:
        """Nothing but the position."""
        self.view.insert_tracking(tracking)


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    entries = ground.size(20_000, 40)
    theirs = ground.size(600, 20)
    with ground.ledger() as opened, ground.database() as name, library(ground, name) as application:
        service = opened.service
        populate(opened, entries)
        # A rebuild goes as far as the live views stand.
        followers = Followers(service.ledger, service.keyring, opened.service_url)
        followers.start()
        for state in followers.states():
            assert followers.wait_for(state.projection, entries, 300) == entries
        followers.stop()
        case = opened_case(1)
        for _ in range(theirs - 1):
            assign(case)
        last = application.save(case)[-1].notification.id

        def ours() -> float:
            began = time.perf_counter()
            compared = rebuild(opened.owner_url, service.ledger, service.keyring)
            assert all(each.equal and each.position == entries for each in compared)
            return entries / (time.perf_counter() - began)

        def peer() -> float:
            environment = ground.library_environment(name) | {"TRIVIAL_POSTGRES_SCHEMA": "library"}
            # A new position for each round: it begins at the first event.
            table = f"tracking_{time.monotonic_ns()}"
            view = type("View", (_View,), {"table": table})
            began = time.perf_counter()
            with ProjectionRunner(
                application_class=LibraryCases, projection_class=_Trivial, view_class=view, env=environment
            ) as runner:
                runner.wait(last, timeout=120)
            return theirs / (time.perf_counter() - began)

        yield Pair(ours=ours, peer=peer)


class _View(PostgresTrackingRecorder):
    table = ""

    def __init__(self, datastore: Any, **_: Any) -> None:
        super().__init__(datastore, tracking_table_name=self.table)


BENCHMARKS = (
    Benchmark(
        name="rebuild-all",
        unit="events/s",
        goal=50,
        beyond=100,
        better="more",
        ours="all views from the log, every entry checked and decrypted, compared, swapped",
        peer="eventsourcing's ProjectionRunner, one trivial view",
        prepare=_prepare,
    ),
)
