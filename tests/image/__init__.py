"""The image of a baked project, built from its Dockerfile and run as a container would run it."""
