"""The benchmark's standard mix of transactions, and its authors' criteria for an implementation."""
