"""The benchmark's standard mix of transactions, and what its authors ask of an implementation."""
