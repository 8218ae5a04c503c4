"""The commands, on real servers that are set up right and wrong."""
