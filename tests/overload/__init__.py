"""The queue in front of the application: one line, a known wait, and a rule that bounds it."""
