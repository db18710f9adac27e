"""The worker of an exploration: it runs the saga and carries out its commands, with faults around them."""
