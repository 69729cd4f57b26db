"""`caseledger key rotate kek`: another key-encryption key, now; old backups of wrapped keys are worthless after it.

The service may run beside it: its processes read the key files again when they meet a key wrapped under the new one.
"""

from typing import Any

from psycopg_pool import ConnectionPool

from application.ledger import keyfiles
from application.ledger.keks import Keks
from application.ledger.keylock import locker
from application.ledger.keyring import Keyring
from application.privacy.fence import FenceFile, reapply
from caseledger import composition
from caseledger.clearing import FENCE
from caseledger.data import existing_keys
from caseledger.settings import Settings


def run(settings: Settings) -> int:
    """Put all living subjects under a new key-encryption key, and destroy the old; prints the new one's name.

    Raises:
        Misconfigured: there is no ledger yet, or its key files are unusable.
        Unavailable: another process is at it.
    """
    data = existing_keys(settings).place
    with composition.database(settings) as urls:
        # What a restored database still has of erased subjects goes first, or it would be wrapped anew.
        reapply(urls.owner, FenceFile(data / FENCE))
        keys = keyfiles.load(data, locker(settings.key_passphrase_file))
        pool: ConnectionPool[Any] = ConnectionPool(
            urls.service, min_size=1, max_size=2, kwargs={"autocommit": True}, open=False
        )
        with pool:
            keks = Keks(data / "keys", keys.locker)
            name = keks.rotate(Keyring(pool, keys.kek, keks.read))
    print(f"key-encryption key {name} is in use, and the one before it destroyed: copy the key files anew")
    return 0
