"""The window: an LSL client of the engine and nothing more; the only place that imports Qt."""
