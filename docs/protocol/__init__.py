"""The model of the saga protocol: every state it can come into, and what each rule prevents (see README.md)."""
