"""The events of closed streams in files, and back."""
