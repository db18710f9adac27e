"""The judgement of a storm: the books, the invariants that must hold of them, and how they are printed."""
