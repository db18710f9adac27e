"""What `migrate` puts into a database beside tables: functions, triggers, roles and rights. Only what differs is touched."""
