"""The marketplace's sagas, one per file."""
