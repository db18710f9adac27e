"""Single-line changes to the engine, each of which exploration should notice: `make mutants`."""
