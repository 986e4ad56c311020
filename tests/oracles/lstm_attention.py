"""The LSTM with attention from its equations: one frame, one head, one lag at a time, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from encoders.lstm_attention import LstmAttention

Array = np.ndarray[Any, Any]


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def predict(model: LstmAttention, projected: Array) -> tuple[Array, Array]:
    """projected (T, P) from the stream's start -> predictions (T, E), attention (T, H, A)."""
    p = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    c = model.config
    h = [np.zeros(c.hidden) for _ in range(c.layers)]
    cell = [np.zeros(c.hidden) for _ in range(c.layers)]
    predictions, attentions = [], []
    for t in range(len(projected)):
        x = p["linear_in.weight"] @ projected[t, : c.reads or None] + p["linear_in.bias"]
        for layer in range(c.layers):
            gates = p[f"lstm.weight_ih_l{layer}"] @ x + p[f"lstm.bias_ih_l{layer}"]
            gates = gates + p[f"lstm.weight_hh_l{layer}"] @ h[layer] + p[f"lstm.bias_hh_l{layer}"]
            n = c.hidden
            take, forget, new, give = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
            cell[layer] = sigmoid(forget) * cell[layer] + sigmoid(take) * np.tanh(new)
            h[layer] = sigmoid(give) * np.tanh(cell[layer])
            x = h[layer]
        attention = np.zeros((c.heads, c.lags))
        contexts = []
        for head in range(c.heads):
            part = slice(head * c.head_width, (head + 1) * c.head_width)
            query = p["query.weight"][part] @ x + p["query.bias"][part]
            there = [lag for lag in range(c.lags) if t - lag >= 0]
            logits = []
            for lag in there:
                key = p["key.weight"][part] @ projected[t - lag] + p["lag_embedding"][head, :, lag]
                logits.append(query @ key / np.sqrt(c.head_width) + p["lag_bias"][head, lag])
            weights = np.exp(np.array(logits) - max(logits))
            weights /= weights.sum()
            attention[head, there] = weights
            contexts.append(
                sum(w * (p["value.weight"][part] @ projected[t - lag]) for w, lag in zip(weights, there, strict=True))
            )
        prediction = p["readout.weight"] @ np.concatenate([x, *contexts]) + p["readout.bias"]
        gain = 1 + p["gain.weight"] @ x + p["gain.bias"] if c.gain else 1.0
        for lag in range(min(c.skip_lags, t + 1)):
            prediction = prediction + gain * (projected[t - lag] @ p["skip"][lag])
        predictions.append(prediction)
        attentions.append(attention)
    return np.array(predictions), np.array(attentions)
