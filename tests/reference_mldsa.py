"""ML-DSA-44 key generation and deterministic signing in plain Python, from FIPS 204; slow, and for tests alone.

The library that the product uses signs hedged only, so published deterministic signatures are made here.
"""

from collections.abc import Iterator
from hashlib import shake_128, shake_256
from itertools import count

Q, D, TAU, BETA, OMEGA = 8380417, 13, 39, 78, 80
GAMMA1, GAMMA2, K, L = 1 << 17, (8380417 - 1) // 88, 4, 4
ZETAS = [pow(1753, int(f"{k:08b}"[::-1], 2), Q) for k in range(256)]
Poly = list[int]


def _h(data: bytes, size: int) -> bytes:
    return shake_256(data).digest(size)


def _ntt(w: Poly) -> Poly:
    """Algorithm 41."""
    w, m, half = list(w), 0, 128
    while half:
        for start in range(0, 256, 2 * half):
            m += 1
            low, high = w[start : start + half], w[start + half : start + 2 * half]
            high = [ZETAS[m] * each % Q for each in high]
            w[start : start + half] = [(a + b) % Q for a, b in zip(low, high, strict=True)]
            w[start + half : start + 2 * half] = [(a - b) % Q for a, b in zip(low, high, strict=True)]
        half //= 2
    return w


def _inverse(w: Poly) -> Poly:
    """Algorithm 42."""
    w, m, half = list(w), 256, 1
    while half < 256:
        for start in range(0, 256, 2 * half):
            m -= 1
            low, high = w[start : start + half], w[start + half : start + 2 * half]
            w[start : start + half] = [(a + b) % Q for a, b in zip(low, high, strict=True)]
            w[start + half : start + 2 * half] = [-ZETAS[m] * (a - b) % Q for a, b in zip(low, high, strict=True)]
        half *= 2
    return [8347681 * each % Q for each in w]


def _times(a: Poly, b: Poly) -> Poly:
    return [x * y % Q for x, y in zip(a, b, strict=True)]


def _plus(a: Poly, b: Poly, sign: int = 1) -> Poly:
    return [(x + sign * y) % Q for x, y in zip(a, b, strict=True)]


def _matrix_times(matrix: list[list[Poly]], vector: list[Poly]) -> list[Poly]:
    rows = [[_times(a, v) for a, v in zip(row, vector, strict=True)] for row in matrix]
    return [_inverse([sum(column) % Q for column in zip(*row, strict=True)]) for row in rows]


def _bytes(state: bytes, shake: object, block: int = 1024) -> Iterator[int]:
    for blocks in count(1):
        yield from shake(state).digest(blocks * block)[(blocks - 1) * block :]  # type: ignore[operator]


def _uniform(seed: bytes) -> Poly:
    """Algorithm 30."""
    stream, found = _bytes(seed, shake_128), []
    while len(found) < 256:
        a, b, c = next(stream), next(stream), next(stream)
        if (value := a | b << 8 | (c & 0x7F) << 16) < Q:
            found.append(value)
    return found


def _bounded(seed: bytes) -> Poly:
    """Algorithm 31, for eta = 2."""
    nibbles = (part for byte in _bytes(seed, shake_256) for part in (byte & 15, byte >> 4))
    good = (2 - each % 5 for each in nibbles if each < 15)
    return [next(good) % Q for _ in range(256)]


def _in_ball(seed: bytes) -> Poly:
    """Algorithm 29."""
    stream, c = _bytes(seed, shake_256), [0] * 256
    signs = int.from_bytes(bytes(next(stream) for _ in range(8)), "little")
    for i in range(256 - TAU, 256):
        j = next(each for each in stream if each <= i)
        c[i], c[j] = c[j], 1 if not signs >> (i + TAU - 256) & 1 else Q - 1
    return c


def _pack(values: Poly, bits: int) -> bytes:
    return sum(value << bits * at for at, value in enumerate(values)).to_bytes(32 * bits, "little")


def _centred(value: int, modulus: int = Q) -> int:
    value %= modulus
    return value - modulus if value > modulus // 2 else value


def _norm(polys: list[Poly]) -> int:
    return max(abs(_centred(each)) for poly in polys for each in poly)


def _parts(r: int) -> tuple[int, int]:
    """Algorithm 36: high and low."""
    low = _centred(r % Q, 2 * GAMMA2)
    return (0, low - 1) if r % Q - low == Q - 1 else ((r % Q - low) // (2 * GAMMA2), low)


class Key:
    """A key from its seed of 32 bytes (Algorithm 6)."""

    def __init__(self, seed: bytes) -> None:
        expanded = _h(seed + bytes((K, L)), 128)
        rho, bounded, self._k = expanded[:32], expanded[32:96], expanded[96:]
        self._matrix = [[_uniform(rho + bytes((s, r))) for s in range(L)] for r in range(K)]
        secrets = [_bounded(bounded + at.to_bytes(2, "little")) for at in range(K + L)]
        self._s1 = [_ntt(each) for each in secrets[:L]]
        t = [_plus(a, b) for a, b in zip(_matrix_times(self._matrix, self._s1), secrets[L:], strict=True)]
        t0 = [[_centred(each, 1 << D) for each in poly] for poly in t]
        t1 = [[(a - b) >> D for a, b in zip(*pair, strict=True)] for pair in zip(t, t0, strict=True)]
        self._s2, self._t0 = [_ntt(each) for each in secrets[L:]], [_ntt(each) for each in t0]
        self.public = rho + b"".join(_pack(each, 10) for each in t1)

    def sign(self, message: bytes) -> bytes:
        """The deterministic signature with an empty context (Algorithms 2 and 7)."""
        mu = _h(_h(self.public, 64) + b"\0\0" + message, 64)
        mask = _h(self._k + bytes(32) + mu, 64)
        for kappa in count(0, L):
            seeds = [_h(mask + (kappa + at).to_bytes(2, "little"), 576) for at in range(L)]
            y = [[GAMMA1 - (int.from_bytes(s, "little") >> 18 * at & 0x3FFFF) for at in range(256)] for s in seeds]
            w = _matrix_times(self._matrix, [_ntt(each) for each in y])
            challenge = _h(mu + b"".join(_pack([_parts(each)[0] for each in poly], 6) for poly in w), 32)
            c = _ntt(_in_ball(challenge))
            z = [_plus(a, _inverse(_times(c, s))) for a, s in zip(y, self._s1, strict=True)]
            rest = [_plus(a, _inverse(_times(c, s)), -1) for a, s in zip(w, self._s2, strict=True)]
            low = max(abs(_parts(each)[1]) for poly in rest for each in poly)
            if _norm(z) >= GAMMA1 - BETA or low >= GAMMA2 - BETA:
                continue
            ct0 = [_inverse(_times(c, each)) for each in self._t0]
            hints = [
                [at for at, (r, t) in enumerate(zip(*pair, strict=True)) if _parts((r + t) % Q)[0] != _parts(r)[0]]
                for pair in zip(rest, ct0, strict=True)
            ]
            if _norm(ct0) >= GAMMA2 or sum(map(len, hints)) > OMEGA:
                continue
            places = bytes(at for each in hints for at in each).ljust(OMEGA, b"\0")
            ends = bytes(sum(map(len, hints[: at + 1])) for at in range(K))
            return challenge + b"".join(_pack([GAMMA1 - _centred(v) for v in p], 18) for p in z) + places + ends
        raise AssertionError
