"""The models: causal Whisper, brain encoders, the simulated patient, and what is learnt from them."""
