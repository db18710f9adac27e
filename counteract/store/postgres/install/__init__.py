"""The parts of a store that `migrate` puts in place beside tables: functions, triggers, roles, rights and the store's
name.

It touches only what differs.
"""
