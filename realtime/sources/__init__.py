"""Where streams come from: LSL, a microphone, a recording."""
