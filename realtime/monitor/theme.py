"""Colours and letters. The colours are Okabe and Ito's and kin, which the colour-blind can tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtGui import QFont

SMALLEST_PT = 11
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"


@dataclass(frozen=True)
class Theme:
    """states: of listening, speaking, silence, stimulation, sham. heads: far apart for everybody; further ones differ
    in the style of their lines."""

    background: str
    panel: str
    text: str
    dim: str
    faint: str
    predicted: str
    observed: str
    good: str
    bad: str
    states: tuple[str, ...]
    heads: tuple[str, ...]


DARK = Theme(
    background="#15181c",
    panel="#1c2026",
    text="#f0f0f0",
    dim="#a8adb5",
    faint="#3a4048",
    predicted=ORANGE,
    observed=SKY,
    good="#34c79b",
    bad=VERMILLION,
    states=("#34c79b", YELLOW, "#AA4499", VERMILLION, "#00704f"),
    heads=(ORANGE, SKY, "#f0f0f0", "#b34700"),
)
LIGHT = Theme(
    background="#f2f2f2",
    panel="#ffffff",
    text="#1a1a1a",
    dim="#505050",
    faint="#d0d0d0",
    predicted=VERMILLION,
    observed=BLUE,
    good="#00704f",
    bad="#b34700",
    states=("#00704f", ORANGE, "#1a1a1a", "#b34700", SKY),
    heads=(VERMILLION, BLUE, "#34c79b", "#882255"),
)
THEMES = {"dark": DARK, "light": LIGHT}


def font(points: int = SMALLEST_PT, bold: bool = False) -> QFont:
    """The font of every text in the window, never under SMALLEST_PT."""
    chosen = QFont()
    chosen.setPointSize(max(points, SMALLEST_PT))
    chosen.setBold(bold)
    return chosen


def style_sheet(theme: Theme) -> str:
    """Colours of everything that is not a plot."""
    return (
        f"QWidget {{ background: {theme.background}; color: {theme.text}; font-size: {SMALLEST_PT}pt; }}"
        f"QLabel#banner {{ background: {theme.bad}; color: white; font-size: 14pt; font-weight: bold; padding: 6px; }}"
        f"QLabel#simulated {{ background: {YELLOW}; color: black; font-size: 13pt; font-weight: bold; padding: 3px; }}"
        f"QLabel#voices {{ background: {theme.bad}; color: white; font-size: 13pt; font-weight: bold; padding: 3px; }}"
        f"QLabel#quiet {{ color: {theme.bad}; font-size: 13pt; font-weight: bold; }}"
        f"QPlainTextEdit, QLineEdit {{ background: {theme.panel}; border: 1px solid {theme.faint}; padding: 2px; }}"
        f"QTabWidget::pane {{ border: none; }}"
        f"QTabBar::tab {{ background: {theme.background}; color: {theme.dim}; padding: 3px 12px; }}"
        f"QTabBar::tab:selected {{ background: {theme.panel}; color: {theme.text}; }}"
        f"QLabel#frozen {{ background: {YELLOW}; color: black; font-size: 16pt; font-weight: bold; padding: 6px; }}"
        f"QSplitter::handle {{ background: {theme.faint}; }}"
        f"QPushButton, QComboBox {{ background: {theme.panel}; border: 1px solid {theme.dim};"
        " border-radius: 3px; padding: 2px 7px; }"
        f"QPushButton:hover {{ border-color: {theme.text}; }}"
        f"QPushButton:checked {{ background: {theme.good}; color: black; }}"
        f"QPushButton:disabled {{ color: {theme.dim}; border-color: {theme.faint}; }}"
        f"QToolTip {{ background: {theme.panel}; color: {theme.text}; }}"
    )
