"""Archives: the events of closed streams in files (`file`), and the way there and back (`streams`)."""
