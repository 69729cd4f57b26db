"""Random bytes that a sealed entry needs, from OpenSSL's generator, which the system seeds and which survives a fork.

`os.urandom` lets go of the interpreter's lock at each call; among many writers, to have it back takes longer than all
else of the sealing but the signature.
"""

from ssl import RAND_bytes as random_bytes

__all__ = ["random_bytes"]
