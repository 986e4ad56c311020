"""What `corticast fit` tells of its model: as JSON values, and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from encoders.horizon import HorizonCurve
from encoders.model_file import ModelHeader
from encoders.scores import number
from encoders.training import FitResult
from realtime.commands import figures
from realtime.commands.judging import Judgement
from realtime.commands.report import Report
from realtime.delay import delays_in_words

KINDS = {"ridge": "lagged ridge", "lstm_attention": "LSTM with attention"}


def fit_content(
    header: ModelHeader,
    result: FitResult,
    curve: HorizonCurve | None,
    judgement: Judgement | None,
    excluded: list[dict[str, Any]],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The figures of a fit as JSON values; what could not be had is None."""
    validation = header.training["validation_r"][result.kind]
    plain = [{"name": name, "r": r} for name, r in zip(header.electrodes, validation, strict=True)]
    content: dict[str, Any] = {
        "simulated": bool(header.training.get("simulated", False)),
        "model": result.kind,
        "horizon_s": header.horizon_s,
        "row_rate_hz": header.row_rate_hz,
        "reference": header.reference,
        "delays_s": header.delays,
        "electrodes": judgement.rows(header.electrodes) if judgement else plain,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "excluded": excluded,
        "training": header.training,
        "history": [{key: number(value) for key, value in row.items()} for row in result.history],
        "whisper": header.whisper,
    }
    if judgement:
        match = judgement.scores.match
        content |= {
            "found": int(np.sum(judgement.scores.p_fdr < figures.ALPHA)),
            "left_out": [name for name, c in zip(header.electrodes, judgement.claimed, strict=True) if not c],
            "mean_r": {
                name: _mean(r[judgement.claimed])
                for name, r in {"model": judgement.scores.r, **judgement.baselines}.items()
            },
            "match_mismatch": {"together": number(match.together), "segments": match.segments, "segment_s": 5.0},
            "folds": {"count": judgement.folds, "gap_s": round(judgement.gap_s, 2)},
            "repeated_s": round(judgement.repeated_s, 1),
            "null_draws": judgement.scores.draws,
        }
    if curve:
        means = {name: [number(r) for r in values] for name, values in curve.means().items()}
        content["horizons"] = {
            "horizons_s": list(curve.horizons_s),
            "r": means,
            "electrodes": int(curve.used.sum()),
            "recommended_s": curve.recommended_s,
        }
    return content


def fit_page(
    content: dict[str, Any], result: FitResult, curve: HorizonCurve | None, judgement: Judgement | None, name: str
) -> Report:
    """The page, from the same figures."""
    page = Report(f"Fit: {name}", _facts(content), content["simulated"])
    if judgement:
        _add_electrodes(page, content, judgement)
        _add_baselines(page, content, judgement)
        _add_lags(page, content, judgement)
    if curve:
        page.add_heading("How far ahead")
        page.add_figure(
            figures.horizon_figure(curve, content["horizon_s"]),
            "Ridges on held-out rows. The two others read the electrode's own activity up to one row (20 ms) before "
            "the newest sound, which a closed loop has, too. --horizon auto takes the recommended one.",
        )
    page.add_heading("How the model was chosen")
    mean = content["training"]["mean_validation_r"]
    page.add_text(
        f"Mean r on {_validation_in_words(result.chosen_on)}: "
        f"{', '.join(f'{KINDS.get(kind, kind)} {r:.3f}' for kind, r in mean.items())}. "
        f"The file holds the {KINDS.get(result.kind, result.kind)}, fitted again to everything."
    )
    if ahead := ridge_ahead(content):
        page.add_text(ahead)
    if "together" in content:
        _add_together(page, content["together"])
    if "acausal" in content:
        both = content["acausal"]["mean_r"]
        page.add_text(
            f"On the same block an LSTM that reads both ways, with attention over segments of 5 s, reaches mean r "
            f"{both['bidirectional']:.3f}, the model {both['model']:.3f}: that is what not knowing the future costs. "
            "It reads the same causal embeddings and cannot run live."
        )
    if result.history:
        page.add_figure(figures.training_figure(result.history, mean.get("ridge", np.nan)), "Training of the LSTM.")
    page.add_heading("What was left out")
    page.add_table(
        content["excluded"], "Channels and electrodes left out or masked" if content["excluded"] else "Nothing."
    )
    return page


def ridge_ahead(content: Mapping[str, Any]) -> str:
    """That the ridge does better than the LSTM that is kept, where the folds say so; else nothing."""
    r = {name: value for name, value in content.get("mean_r", {}).items() if value is not None}
    if content["model"] == "ridge" or not r.keys() >= {"model", "ridge"} or r["ridge"] <= r["model"]:
        return ""
    kept = KINDS.get(content["model"], content["model"])
    return f"In the folds the ridge is ahead of the {kept} that is kept: mean r {r['ridge']:.3f}, not {r['model']:.3f}."


def _validation_in_words(chosen_on: Mapping[str, Any]) -> str:
    if not chosen_on:
        return "a validation block that neither had learnt from"
    repeats = "whose sounds" if chosen_on["repeats_apart"] else "whose rows, though not all of its sounds,"
    return (
        f"a validation block of {chosen_on['held_out_s']:.0f} s, {repeats} neither had learnt from "
        f"({chosen_on['gap_s']:.1f} s left out around it)"
    )


def _add_together(page: Report, together: dict[str, Any]) -> None:
    """The patients who taught the trunk, and what sharing it gained each."""
    page.add_heading("Fitted together with others")
    page.add_text(
        f"{len(together['patients'])} patients taught projection, LSTM and attention (trunk "
        f"{together['trunk_sha256'][:12]}); the linear path and the read-out are each patient's own, and so is the "
        "choice between LSTM and ridge. The curve of training is of all of them."
    )
    page.add_table(
        together["patients"],
        "Mean r on each patient's validation block, over electrodes of which anything is claimed. Epochs and kinds "
        "were chosen on it, so small differences say nothing.",
    )


def _facts(content: dict[str, Any]) -> dict[str, Any]:
    training, whisper, machine = content["training"], content["whisper"], content.get("machine", {})
    seconds = content["seconds"]
    facts = {
        "recordings": [one["name"] for one in training.get("recordings", [])],
        "length": f"{training['minutes_of_recording']:.1f} min",
        "model": KINDS.get(content["model"], content["model"]),
        "Whisper": f"{whisper['name']}, layer {whisper['layer']}, blocks of {whisper['block_ms']:g} ms, "
        f"delay {whisper['delay_ms']:g} ms",
        "horizon": f"{1e3 * content['horizon_s']:.0f} ms",
        "rows": f"{content['row_rate_hz']:g} a second",
        "reference": content["reference"]["kind"],
        "delays": delays_in_words(content["delays_s"]),
        "time taken": ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()),
        "machine": f"{machine.get('processor', 'unknown')}, {machine.get('cores', '?')} cores",
        "seed": training.get("seed", 0),
    }
    if "found" in content:
        tested = sum(row["p_fdr"] is not None for row in content["electrodes"])
        match = content["match_mismatch"]
        facts["found"] = f"{content['found']} of {tested} electrodes follow the sound (false discovery rate 5 %)"
        if content["left_out"]:
            facts["record the sound"] = f"{', '.join(content['left_out'])}: left out of all claims"
        if match["together"] is not None:
            facts["match-mismatch"] = f"{100 * match['together']:.0f} % of 5 s pairs told apart (chance 50 %)"
    return facts


def _add_electrodes(page: Report, content: dict[str, Any], judgement: Judgement) -> None:
    names = tuple(row["name"] for row in content["electrodes"])
    page.add_heading("Each electrode")
    page.add_text(
        f"Every row was predicted by a model that had not seen it: {judgement.folds} contiguous folds, "
        f"{judgement.gap_s:.1f} s left out around each, everything fitted anew inside. Null: circular shifts of 5 s "
        f"and more and random phases, {judgement.scores.draws} draws each at most, the higher of the two. Bars: 95 % "
        "intervals from 5 s blocks."
    )
    caption = "Correlation of predicted with observed high gamma, the best first."
    if not np.isfinite(judgement.ceiling).any():
        caption += " No noise ceiling: no stretch of sound was heard twice."
    page.add_figure(figures.electrode_figure(judgement.scores, names, judgement.ceiling), caption)
    page.add_figure(
        figures.trace_figure(
            judgement.predicted, judgement.observed, judgement.bad, judgement.scores, names, content["row_rate_hz"]
        ),
        f"Predicted over observed, the three best electrodes, rows left out, {content['row_rate_hz']:g} a second.",
    )
    page.add_table(_flat(content["electrodes"]), "All electrodes as a table", folded=True)


def _add_baselines(page: Report, content: dict[str, Any], judgement: Judgement) -> None:
    found = np.nan_to_num(judgement.scores.p_fdr, nan=1.0) < figures.ALPHA
    page.add_heading("Beside simpler accounts")
    page.add_figure(
        figures.baseline_figure(np.where(judgement.claimed, judgement.scores.r, np.nan), judgement.baselines, found),
        "An electrode a point, on the same rows left out. Above the line the model is better.",
    )
    page.add_table(
        [
            {"": name, "mean r": _mean(r[judgement.claimed]), "mean r, electrodes found": _mean(r[found])}
            for name, r in {"model": judgement.scores.r, **judgement.baselines}.items()
        ],
        "rate: onset strength and onsets a second. untrained: the same Whisper with random weights.",
    )
    rows = [row for row in content["electrodes"] if row["p_fdr"] is not None and row["p_fdr"] < figures.ALPHA]
    if rows:
        rows.sort(key=lambda row: -row["r"])
        page.add_figure(
            figures.share_figure(rows),
            "Banded ridge over spectrogram and embeddings: what each adds to the other, on rows left out. Below zero: "
            "it adds noise alone.",
        )


def _add_lags(page: Report, content: dict[str, Any], judgement: Judgement) -> None:
    found = np.nan_to_num(judgement.scores.p_fdr, nan=1.0) < figures.ALPHA
    page.add_heading("How long after the sound")
    page.add_figure(
        figures.lag_figure(judgement.profile, judgement.lags_s, content["horizon_s"], found),
        f"What the embedding of each lag alone explains. {_lags_contain(content['delays_s'])}",
    )


def _flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table's rows, the best first."""
    keys = ("name", "claimed", "r", "r_low", "r_high", "null_p95", "p_fdr", "ceiling", "lag_ms", "match_mismatch")
    ordered = sorted(rows, key=lambda row: 2.0 if row["r"] is None else -row["r"])
    return [{**{key: row[key] for key in keys}, **row["baselines"]} for row in ordered]


def _mean(r: Any) -> float | None:
    finite = r[np.isfinite(r)]
    return float(finite.mean()) if len(finite) else None


def _lags_contain(delays_s: Mapping[str, float | None]) -> str:
    """What of a best lag is the devices' and not the brain's."""
    if any(delay_s is None for delay_s in delays_s.values()):
        return f"Best lags include the difference of the devices' delays ({delays_in_words(delays_s)})."
    return f"The devices' delays are taken off ({delays_in_words(delays_s)})."
