"""The row of buttons, and the keys that do the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QSpinBox, QWidget

from realtime.monitor.choice import MOST

MODES = (
    ("best", "best by score"),
    ("hand", "by hand: click the map"),
    ("row", "a row of the grid"),
    ("region", "a region"),
)


@dataclass(frozen=True)
class Action:
    """What a key and, where it has a label, a button does."""

    key: str
    label: str
    what: str
    do: Callable[[], object]


class Controls:
    """Buttons in `widget`; `buttons` by label. Those in COMMANDS speak to the engine, and `marker` with them."""

    COMMANDS = ("Record", "Adapt")

    def __init__(self, owner: QWidget, actions: Sequence[Action]) -> None:
        self._owner = owner
        self.actions = tuple(actions)
        self.widget = QWidget()
        self.row = QHBoxLayout(self.widget)
        self.row.setContentsMargins(8, 0, 8, 2)
        self.row.setSpacing(4)
        self.buttons: dict[str, QPushButton] = {}
        self.mode, self.count = QComboBox(), QSpinBox()
        for value, words in MODES:
            self.mode.addItem(words, value)
        self.mode.setToolTip("which electrodes are drawn")
        self.mode.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.count.setRange(1, MOST)
        self.count.setToolTip("how many of the best are drawn")
        self.count.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        for action in self.actions:
            self._add(action)
        self.row.addStretch(1)
        self.marker = QLineEdit()
        self.marker.setPlaceholderText("marker text, Enter")
        self.marker.setMaximumWidth(190)
        self.marker.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        for widget in (self.marker, *(self.buttons[label] for label in self.COMMANDS)):
            self.row.addWidget(widget)
        self.row.insertWidget(0, self.count)
        self.row.insertWidget(0, self.mode)

    def _add(self, action: Action) -> None:
        shortcut = QShortcut(QKeySequence(action.key), self._owner)
        shortcut.activated.connect(action.do)
        if not action.label:
            return
        button = QPushButton(action.label)
        button.setToolTip(f"{action.what} ({action.key})")
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys are for the window, Space above all
        button.clicked.connect(action.do)
        self.buttons[action.label] = button
        self.row.addWidget(button)

    def allow_commands(self, allowed: bool) -> None:
        """Grey what the engine would not obey."""
        why = "" if allowed else ": the engine takes no commands (corticast run --accept-commands)"
        for widget in (self.marker, *(self.buttons[label] for label in self.COMMANDS)):
            if widget.isEnabled() != allowed or not widget.property("told"):
                widget.setEnabled(allowed)
                widget.setProperty("told", True)
                widget.setToolTip((widget.toolTip().split(":")[0] or "a marker in the recording (M)") + why)

    def help(self) -> None:
        """Every key, in a box that does not stop the drawing."""
        lines = [f"<tr><td><b>{a.key}</b>&nbsp;&nbsp;</td><td>{a.what}</td></tr>" for a in self.actions if a.what]
        mouse = (
            ("drag", "scroll back"),
            ("wheel, Ctrl+wheel", "zoom time, zoom amplitude"),
            ("hover, click", "measure, set or clear the anchor from which is measured"),
            ("click on the map", "pin an electrode to the traces, or let it go"),
        )
        lines += [f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{what}</td></tr>" for key, what in mouse]
        box = QMessageBox(self._owner)
        box.setWindowTitle("Keys and mouse")
        box.setText(f"<table>{''.join(lines)}</table>")
        box.setModal(False)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.show()
