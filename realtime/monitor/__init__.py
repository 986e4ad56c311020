"""The window: an LSL client of the engine and nothing more; the only place that imports Qt.

Numbers live outside Qt: `history` (rings), `curves` (what is drawn), `vitals` (health in words), `client`
(the threads that fill the rings), `spectra`, `onsets`. Panels, one a file, such as `traces`, `spectrum`, `health`;
`window` lays them out.
"""
