"""Slow references, each written another way than the code that it checks."""
