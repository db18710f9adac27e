"""One suite for every adapter of `EventStore`. It needs pytest-asyncio, and a fixture from whoever runs it:

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[EventStore]:
            async with MyStore.open() as store:
                yield store  # empty

The store must hold events to the default limit of a mebibyte.
"""

from __future__ import annotations

from counteract.testing.store_contract.appending import Appending
from counteract.testing.store_contract.bounding import Bounding
from counteract.testing.store_contract.consuming import Consuming
from counteract.testing.store_contract.contending import Contending
from counteract.testing.store_contract.keeping import Keeping
from counteract.testing.store_contract.reading import Reading
from counteract.testing.store_contract.refusing import Refusing
from counteract.testing.store_contract.repeating import Repeating


class StoreContract(Appending, Repeating, Contending, Reading, Keeping, Refusing, Bounding, Consuming):
    """A test for each promise of `EventStore`: subclass it, with a fixture `store` that yields an empty store."""


__all__ = ["StoreContract"]
