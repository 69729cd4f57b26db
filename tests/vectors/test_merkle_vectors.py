"""The published vectors of transparency-dev/merkle decide what a proof is."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidInput, ProofInvalid
from domain.ledger.subtree import Subtree, verify_subtree_consistency, verify_subtree_inclusion
from domain.ledger.tree import verify_consistency, verify_inclusion
from tests.shared import shared


def files(folder: str) -> list[Path]:
    """The cases below a folder of the published test data."""
    return sorted(shared("vectors", "transparency-dev-merkle", "testdata", folder).rglob("*.json"))


def raw(text: str | None) -> bytes:
    """Bytes of base64, none for null."""
    return base64.b64decode(text or "")


def inclusion(case: dict[str, Any]) -> None:
    """Verifies one published inclusion proof."""
    proof = [raw(item) for item in case["proof"] or []]
    verify_inclusion(raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"]))


def consistency(case: dict[str, Any]) -> None:
    """Verifies one published consistency proof."""
    proof = [raw(item) for item in case["proof"] or []]
    verify_consistency(case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"]), proof)


def subtree_inclusion(case: dict[str, Any]) -> None:
    """Verifies one published proof of a leaf in a subtree."""
    proof = [raw(item) for item in case["proof"] or []]
    subtree = Subtree(case["start"], case["end"])
    verify_subtree_inclusion(raw(case["leafHash"]), case["leafIdx"], subtree, proof, raw(case["root"]))


def subtree_consistency(case: dict[str, Any]) -> None:
    """Verifies one published proof of a subtree in a tree."""
    proof = [raw(item) for item in case["proof"] or []]
    subtree = Subtree(case["start"], case["end"])
    verify_subtree_consistency(subtree, case["size"], raw(case["root1"]), raw(case["root2"]), proof)


VERIFY: dict[str, Callable[[dict[str, Any]], None]] = {
    "inclusion": inclusion,
    "consistency": consistency,
    "subtreeinclusion": subtree_inclusion,
    "subtreeconsistency": subtree_consistency,
}


@pytest.mark.parametrize(
    ("folder", "count"),
    [("inclusion", 98), ("consistency", 98), ("subtreeinclusion", 204), ("subtreeconsistency", 118)],
)
def test_published_proofs(folder: str, count: int, counted: Callable[[str, int], None]) -> None:
    """Each published proof is accepted or refused as its `wantErr` says."""
    ran, disagree = 0, []
    for file in files(folder):
        case = json.loads(file.read_text())
        try:
            VERIFY[folder](case)
            refused = False
        except (InvalidInput, ProofInvalid):
            refused = True
        if refused != case["wantErr"]:
            disagree.append(f"{file.parent.name}/{file.name}")
        ran += 1
    assert disagree == []
    assert ran == count
    counted("published vectors, transparency-dev/merkle", ran)


def test_every_folder_of_proofs_is_read() -> None:
    """No published proof is left out."""
    folders = {file.name for file in shared("vectors", "transparency-dev-merkle", "testdata").iterdir()}
    assert folders == VERIFY.keys()
    assert sum(map(len, map(files, folders))) == 518
