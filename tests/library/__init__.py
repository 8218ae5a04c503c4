"""Tests of the pool alone, on a small application of their own."""
