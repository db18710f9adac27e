"""Per context: each command's handler beside its compensation."""
