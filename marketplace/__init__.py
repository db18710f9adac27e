"""The marketplace at work: a catalogue, checkouts of every kind, and what must hold afterwards."""
