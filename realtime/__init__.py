"""The live engine: streams, time, causal signal processing, score. Knows no model."""
