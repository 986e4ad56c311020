"""The adapting read-out from whole recordings: least squares over all rows so far, explicitly weighted, each second."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def weights_at_each_second(
    components: Array, missed: Array, ok: Array, heard: Array, lags: list[int], keep: float, prior: float
) -> tuple[list[Array], list[list[int]]]:
    """components (T, K), missed (T, E), ok (T, E), heard (T,), T whole seconds of 50 rows from row 0 on.

    Gives per second the weights (M, K, E) for every lag and the index of the best lag of each electrode. A masked
    target is what the last weights said it would be.
    """
    total, k = components.shape
    electrodes = missed.shape[1]
    weights = np.zeros((len(lags), k, electrodes))
    rows: list[Array] = []
    targets: list[Array] = []
    weights_found, lags_found = [], []
    for second in range(total // 50):
        for row in range(second * 50 - max(lags), (second + 1) * 50 - max(lags)):
            if row < 0 or not heard[row] or not any(ok[row + lag].any() for lag in lags):
                continue
            target = np.zeros((len(lags), electrodes))
            for m, lag in enumerate(lags):
                for e in range(electrodes):
                    seen = ok[row + lag, e]
                    target[m, e] = missed[row + lag, e] if seen else components[row] @ weights[m, :, e]
            rows.append(components[row])
            targets.append(target)
        if rows:
            root = np.sqrt(keep ** np.arange(len(rows))[::-1])
            design = np.concatenate([np.array(rows) * root[:, None], np.sqrt(prior) * np.eye(k)])
            for m in range(len(lags)):
                for e in range(electrodes):
                    wanted = np.concatenate([np.array([t[m, e] for t in targets]) * root, np.zeros(k)])
                    weights[m, :, e] = np.linalg.lstsq(design, wanted, rcond=None)[0]
        explained = np.array(
            [
                [
                    sum(
                        keep ** (len(rows) - 1 - i) * targets[i][m, e] * (rows[i] @ weights[m, :, e])
                        for i in range(len(rows))
                    )
                    for e in range(electrodes)
                ]
                for m in range(len(lags))
            ]
        )
        weights_found.append(weights.copy())
        lags_found.append(explained.argmax(axis=0).tolist())
    return weights_found, lags_found
