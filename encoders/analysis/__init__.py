"""After the session: which layers, phonemes and moments the electrodes follow."""
