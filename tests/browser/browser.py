"""Drives Debian's headless Chromium over its debugging pipe, with the standard library alone.

    with browser() as b:
        page = b.open("report.html")
        page.evaluate("document.title")

Everything that a page logs, throws or requests is kept: page.errors, page.requests.
"""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

# The pipe's ends must be descriptors 3 and 4.
LAUNCH = """
import fcntl, os, sys
r, w = (fcntl.fcntl(int(d), fcntl.F_DUPFD, 10) for d in sys.argv[1:3])
os.dup2(r, 3), os.dup2(w, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find():
    for name in ("chromium-headless-shell", "chromium"):
        path = shutil.which(name)
        if path:
            return path
    return None


class browser:
    def __init__(self):
        program = find()
        if program is None:
            raise RuntimeError("no chromium-headless-shell; apt-get install chromium-headless-shell")
        self.folder = tempfile.TemporaryDirectory(prefix="wayfarer-browser-", ignore_cleanup_errors=True)
        command_read, self.to = os.pipe()
        self.from_, answer_write = os.pipe()
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}", "--no-first-run", "--disable-gpu-sandbox",
                 "--hide-scrollbars", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                 "--force-color-profile=srgb", "--disable-dev-shm-usage"]
        # Chromium refuses its sandbox to root, and containers often have none; pages here are our own, with hostile text in them.
        flags.append("--no-sandbox")
        self.process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(command_read), str(answer_write), program, *flags, "about:blank"],
                                        pass_fds=(command_read, answer_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.folder.name})
        os.close(command_read), os.close(answer_write)
        self.buffer = b""
        self.number = 0
        self.answers = {}
        self.pages = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", timeout=5)
        except Exception:
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to), os.close(self.from_)
        self.folder.cleanup()

    def pump(self, until):
        """Reads messages for one moment, at most until the time `until`."""
        ready, _, _ = select.select([self.from_], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return
        piece = os.read(self.from_, 1 << 20)
        if not piece:
            raise RuntimeError("the browser ended")
        self.buffer += piece
        *whole, self.buffer = self.buffer.split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].event(message["method"], message["params"])

    def call(self, method, session=None, timeout=60, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        number, until = self.number, time.monotonic() + timeout
        while number not in self.answers:
            if time.monotonic() > until:
                raise TimeoutError(f"{method} took more than {timeout} s")
            self.pump(until)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path, width=1280, height=900, dark=False):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        p = page(self, target, session)
        self.pages[session] = p
        for domain in ("Page", "Runtime", "Log", "Network"):
            p.call(f"{domain}.enable")
        p.size(width, height)
        p.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        p.url = pathlib.Path(path).resolve().as_uri()
        p.call("Page.navigate", url=p.url)
        return p


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32}


class page:
    def __init__(self, owner, target, session):
        self.owner, self.target, self.session = owner, target, session
        self.errors, self.requests = [], []
        self.url = ""

    def call(self, method, timeout=60, **params):
        return self.owner.call(method, self.session, timeout, **params)

    def event(self, method, params):
        if method == "Runtime.exceptionThrown":
            d = params["exceptionDetails"]
            self.errors.append(d.get("exception", {}).get("description") or d.get("text"))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != self.url and not url.startswith(("data:", "about:", "blob:")):
                self.requests.append(url)
        elif method == "Page.javascriptDialogOpening":
            self.errors.append(f"a dialog opened: {params.get('message')}")

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def evaluate(self, script, timeout=60):
        """The value of an expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", timeout, expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            d = answer["exceptionDetails"]
            raise RuntimeError(d.get("exception", {}).get("description") or d.get("text"))
        return answer["result"].get("value")

    def wait(self, script, timeout=20, what=None):
        until = time.monotonic() + timeout
        while not self.evaluate(f"!!({script})"):
            if time.monotonic() > until:
                raise TimeoutError(f"not within {timeout} s: {what or script}; errors: {self.errors}")
            time.sleep(0.02)

    def key(self, name, times=1, shift=False):
        for _ in range(times):
            common = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS.get(name, 0), "modifiers": 8 if shift else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": "\r"} if name == "Enter" else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def mouse(self, x, y, kind="mouseMoved", **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y):
        self.mouse(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(x, y, kind, button="left", clickCount=1)

    def drag(self, x1, y1, x2, y2):
        self.mouse(x1, y1)
        self.mouse(x1, y1, "mousePressed", button="left", clickCount=1)
        self.mouse((x1 + x2) / 2, (y1 + y2) / 2, button="left")
        self.mouse(x2, y2, button="left")
        self.mouse(x2, y2, "mouseReleased", button="left", clickCount=1)

    def screenshot(self, path, clip=None, whole=False):
        more = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000)}
        if clip:
            more = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True}
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"])
        if path:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_bytes(data)
        return data

    def close(self):
        self.owner.call("Target.closeTarget", targetId=self.target)
        self.owner.pages.pop(self.session, None)
