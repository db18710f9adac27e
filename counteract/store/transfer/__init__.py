"""Events as lines of JSON, from one store to another."""
