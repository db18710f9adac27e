"""Judges a run: its evidence is held against the protocol of sagas, and the streams of the store against the handlers."""
