"""Panel: what happened, with times, the newest at the top."""

from __future__ import annotations

import time

from PySide6.QtWidgets import QPlainTextEdit

from realtime.monitor.alarms import Alarms, clock_words
from realtime.monitor.client import Client
from realtime.monitor.theme import Theme

SHOWN = 200
FOR_REPLAY = ("offset", "hush")  # comes often and says nothing to people


class Events:
    """Text that may be selected and copied."""

    def __init__(self, _theme: Theme) -> None:
        self.widget = QPlainTextEdit()
        self.widget.setReadOnly(True)
        self.widget.setPlaceholderText("nothing has happened yet")
        self._drawn: object = None

    def draw(self, client: Client, alarms: Alarms) -> None:
        new = (client.noted, alarms.logged)
        if new == self._drawn or not self.widget.isVisible():
            return
        self._drawn = new
        self.widget.setPlainText("\n".join(lines(client, alarms)))


def lines(client: Client, alarms: Alarms) -> list[str]:
    """Of the engine's events and the monitor's own alarms, newest first."""
    offset_s = time.time() - client.now_s()  # from the engine's clock to the wall's
    told: list[tuple[float, str]] = list(alarms.log)
    for event in list(client.events):
        if event.get("event") in FOR_REPLAY:
            continue
        if event.get("event") == "command" and event.get("done"):  # what it did is told beside it
            continue
        at_s = event.get("time")
        text = str(event.get("message") or event.get("event"))
        told.append((float(at_s) + offset_s if isinstance(at_s, int | float) else 0.0, text))
    told.sort(key=lambda entry: -entry[0])
    return [f"{clock_words(at_s)}  {text}" for at_s, text in told[:SHOWN]]
