"""The commands of a baked project, on real servers that are set up right and wrong."""
