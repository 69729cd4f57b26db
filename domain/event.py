"""What every event is, and the closed register of them all.

A topic names one shape for ever. A changed shape is a new topic, with an upcast from the old one; nothing is ever
imported by a name that stands in the database.
"""

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import msgspec

from domain.errors import MalformedBody, UnknownTopic
from domain.ledger import encoding
from domain.values import Role

SubjectClass = Literal["case", "record", "patient", "accountability", "specialist", "key"]
"""Whose key seals an event: that of the case, of the one record, of the patient, of the case's disclosures and consents
(which outlives the case's), of a specialist, or of a signing key's history."""


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Something that happened; immutable."""


E = TypeVar("E", bound=Event)


class Meta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the log says beside the event. Times in microseconds UTC."""

    actor: str
    role: Role
    recorded_at: int
    occurred_at: int | None = None
    leaf: str = ""
    """Leaf hash of the entry, lower-case hex; empty where the event is not in the log yet."""
    index: int = -1
    """Index in the log from 0; -1 where the event is not in the log yet."""
    committed_at: int = 0


class Erased(msgspec.Struct, frozen=True):
    """Stands for an event whose payload was erased: the entry proves that there was one, of this topic."""

    topic: str
    subject: str = ""
    """Whose key sealed it ("record:..."); empty where the entry was made after the erasure."""


class Registration(msgspec.Struct, Generic[E], frozen=True):
    """One topic: its type, whose key seals it, and, for a retired topic, how its shape becomes the present one."""

    topic: str
    type: type[E]
    subject: SubjectClass
    upcast: Callable[[E], Event] | None = None


class Register:
    """Maps topics to types and back. Filled while modules load, then only read."""

    def __init__(self) -> None:
        self._by_topic: dict[str, Registration[Event]] = {}
        self._by_type: dict[type[Event], Registration[Event]] = {}
        self._decode: dict[str, Callable[[bytes], Event]] = {}

    def add(self, topic: str, subject: SubjectClass) -> Callable[[type[E]], type[E]]:
        """Class decorator: registers an event type under its topic."""

        def register(type_: type[E]) -> type[E]:
            registration: Registration[Event] = Registration(topic, type_, subject)
            if topic in self._by_topic or type_ in self._by_type:
                raise ValueError(f"{topic} is registered twice")
            self._by_topic[topic] = self._by_type[type_] = registration
            self._decode[topic] = msgspec.json.Decoder(type_).decode
            return type_

        return register

    def of(self, event: Event) -> Registration[Event]:
        """The registration of an event's type."""
        return self._by_type[type(event)]

    def topics(self) -> tuple[str, ...]:
        """Every topic, sorted."""
        return tuple(sorted(self._by_topic))

    def named(self, topic: str) -> Registration[Event]:
        """The registration of a topic.

        Raises:
            UnknownTopic: no such topic in this version.
        """
        try:
            return self._by_topic[topic]
        except KeyError:
            raise UnknownTopic(f"this version does not know events of the kind {topic}") from None

    def decode(self, topic: str, payload: bytes) -> Event:
        """Decode an event's canonical payload, brought up to the present shape.

        Raises:
            UnknownTopic: no such topic.
            MalformedBody: the payload does not have the topic's shape.
        """
        registration = self._by_topic.get(topic) or self.named(topic)
        try:
            event = self._decode[topic](payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise MalformedBody(f"the payload is not one of {topic}") from None
        return event if registration.upcast is None else registration.upcast(event)


def encode(event: Event) -> bytes:
    """Canonical payload bytes of an event."""
    return encoding.encode(event)


register = Register()
