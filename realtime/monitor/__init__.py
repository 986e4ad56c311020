"""The window: an LSL client of the engine and nothing more; the only place that imports Qt.

Numbers live outside Qt: `history` (rings), `curves` (what is drawn), `vitals` (health in words), `client`
(the threads that fill the rings). Panels, one a file: `traces`, `electrodes`, `attention`, `sound`, `health`; `window`
lays them out.
"""
