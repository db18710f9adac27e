"""The Online Marketplace: what is decided in it, free of I/O."""
