"""What the event sourcing library asks for, made from ours: nothing is found by a name or an environment variable."""

from typing import Any

from eventsourcing.persistence import InfrastructureFactory, Mapper, StoredEvent

from application.ledger.streams import LoggedEvent, NewEvent, OpenedEvent
from domain.event import Erased, encode, register


class LedgerMapper(Mapper[str]):
    """Maps events to payloads and back; sealing is not its business."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """The payload of a new event, under its topic."""
        new: NewEvent = domain_event
        topic = register.of(new.event).topic
        return StoredEvent(new.originator_id, new.originator_version, topic, encode(new.event))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The event of an opened entry; `Erased` where the payload is gone."""
        if not isinstance(stored_event, OpenedEvent):
            raise TypeError("a stored event is opened by the event store before it is mapped")
        topic = stored_event.topic
        event = (
            Erased(topic, stored_event.statement.subject or "")
            if stored_event.erased
            else register.decode(topic, stored_event.state)
        )
        return LoggedEvent(
            originator_id=str(stored_event.originator_id),
            originator_version=stored_event.originator_version,
            event=event,
            statement=stored_event.statement,
            index=stored_event.index,
            leaf=stored_event.leaf.hex(),
            committed_at=stored_event.committed_at,
        )


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
