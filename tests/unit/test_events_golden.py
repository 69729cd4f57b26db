"""One file of bytes for each topic, for ever: what was written once stays readable, and is written the same way again.

A file is the canonical payload of one event with every optional member present. Never change one; a new topic gets a
new file.
"""

import importlib
import pkgutil
from pathlib import Path

import pytest

import domain
from domain.event import encode, register

for _module in pkgutil.walk_packages(domain.__path__, "domain."):
    importlib.import_module(_module.name)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
TOPICS = register.topics()


def test_every_topic_has_its_file_and_every_file_its_topic() -> None:
    """A topic without bytes is not held to anything; bytes without a topic no longer decode."""
    assert tuple(sorted(path.name for path in GOLDEN.iterdir())) == tuple(f"{topic}.json" for topic in TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_golden_bytes_decode_and_encode_to_themselves(topic: str) -> None:
    """A retired topic decodes to its present shape, and only has to do that."""
    raw = (GOLDEN / f"{topic}.json").read_bytes()
    event = register.decode(topic, raw)
    if register.named(topic).upcast is None:
        assert register.of(event).topic == topic
        assert encode(event) == raw
