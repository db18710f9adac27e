"""The judgement of a run: its evidence is held against the protocol, and the store's streams against its handlers."""
