"""A Chromium without a window, spoken to by its own protocol: what a reader of a page sees and does."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

AXE = Path(__file__).parent / "fixtures" / "axe" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
"""Where it is; None where there is none."""


class Browser:
    def __init__(self, profile: Path) -> None:
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-allow-origins=*",
        ]
        options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.sent = 0
        told = profile / "DevToolsActivePort"
        self.wait(lambda: told.is_file() and told.read_text().strip())
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tab = next(each for each in json.load(answer) if each["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"])

    def wait(self, done):
        while not done():
            assert self.process.poll() is None, "the browser has ended"
            time.sleep(0.05)

    def call(self, method, **params):
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.sent:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script):
        """Return what a script gives, or what its promise does."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, page: Path, *, width=1440, dark=False, printed=False):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="print" if printed else "", features=scheme)
        self.call("Page.navigate", url="about:blank")
        self.wait(lambda: self.run("location.href") == "about:blank")
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait(lambda: self.run("location.href !== 'about:blank' && document.readyState === 'complete'"))

    def press(self, key):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9}[key])

    def faults(self):
        """Return what axe-core finds serious or critical: the rule, how often, and the first element."""
        self.run(AXE.read_text(encoding="utf-8") + "; true")
        row = "(each) => [each.impact, each.id, each.nodes.length, each.nodes[0].html.slice(0, 150)]"
        found = self.run(f"axe.run(document, {{resultTypes: ['violations']}}).then((all) => all.violations.map({row}))")
        return [each for each in found if each[0] in ("serious", "critical")]

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        self.socket.close()
        self.process.wait()
