"""One file per command of the `corticast` command line; these wire models to the engine."""
