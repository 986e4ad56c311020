"""Where results go: LSL outlets and the recorder."""
