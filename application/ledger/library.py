"""What the event sourcing library asks for, made from ours: nothing is found by a name or an environment variable."""

from typing import Any, NoReturn

from eventsourcing.persistence import InfrastructureFactory, Mapper, StoredEvent

from application.ledger.streams import NewEvent
from domain.event import encode, register


class LedgerMapper(Mapper[str]):
    """Maps events to payloads; sealing is not its business."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """The payload of a new event, under its topic."""
        new: NewEvent = domain_event
        topic = register.of(new.event).topic
        return StoredEvent(new.originator_id, new.originator_version, topic, encode(new.event))

    def to_domain_event(self, stored_event: StoredEvent) -> NoReturn:
        """Not offered: events are made of whole rows, by `EntryReader`."""
        raise TypeError("a stored event is no entry: the event store opens whole rows")


class LedgerFactory(InfrastructureFactory[Any]):
    """Builds the library's parts from ours; nothing is resolved by a name."""

    def aggregate_recorder(self, purpose: str = "events") -> Any:
        """Not offered: there are no snapshots."""
        raise TypeError("this ledger keeps no snapshots")

    def application_recorder(self) -> Any:
        """Handed in by `Ledger`."""
        raise TypeError("the recorder is handed to Ledger")

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Any:
        """Not offered: views track their own positions."""
        raise TypeError("views track their own positions")

    def process_recorder(self) -> Any:
        """Not offered: views track their own positions."""
        raise TypeError("views track their own positions")
