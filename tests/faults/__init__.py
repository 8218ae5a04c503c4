"""Faults on purpose: the baked project, served by gunicorn on real servers, and what it owes."""
