"""One file a format: each gives a `Recording`."""
