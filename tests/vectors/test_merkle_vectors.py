"""The published vectors of transparency-dev/merkle decide what a proof is."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ProofInvalid
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


@pytest.mark.parametrize(("folder", "count"), [("inclusion", 98), ("consistency", 98)])
def test_published_proofs(folder: str, count: int, counted: Callable[[str, int], None]) -> None:
    """Each published proof is accepted or refused as its `wantErr` says."""
    ran, disagree = 0, []
    for file in files(folder):
        case = json.loads(file.read_text())
        try:
            {"inclusion": inclusion, "consistency": consistency}[folder](case)
            refused = False
        except ProofInvalid:
            refused = True
        if refused != case["wantErr"]:
            disagree.append(f"{file.parent.name}/{file.name}")
        ran += 1
    assert disagree == []
    assert ran == count
    counted("published vectors, transparency-dev/merkle", ran)


def test_subtree_proofs_are_out_of_scope() -> None:
    """The other folders prove subtrees, which may start at any leaf; the ledger neither makes nor reads such."""
    shared("vectors", "transparency-dev-merkle", "testdata")
    folders = ("subtreeinclusion", "subtreeconsistency")
    assert {folder: len(files(folder)) for folder in folders} == {
        "subtreeinclusion": 204,
        "subtreeconsistency": 118,
    }
    assert sum(map(len, map(files, ("inclusion", "consistency", *folders)))) == 518
