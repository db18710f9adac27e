"""One log of events, kept by three stores."""
