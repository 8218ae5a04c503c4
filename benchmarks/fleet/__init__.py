"""A simulation of 1 to 1,000,000 instances in front of one database: `python -m benchmarks.fleet`.

`pools` plays single pools event by event, `day` the whole fleet as a fluid; docs/scale.md says
what is in the model and what is not. Only the picture needs more than the standard library.
"""
