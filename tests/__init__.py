"""Tests through real LSL, real Qt offscreen, real files and real Whisper weights."""
