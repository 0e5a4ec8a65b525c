"""A page in headless Chromium, driven over the DevTools protocol through a pair of pipes."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
)


class Browser:
    """One page; `messages` collects what the console and the page's errors say."""

    def __init__(self, folder: Path):
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4.
        redirected = (
            f'exec "$0" {_FLAGS} --user-data-dir="$1" about:blank 3<&{to_read} 4>&{to_write}'
        )
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, str(CHROMIUM), str(folder)],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._count, self._session = b"", 0, None
        self.messages: list[Any] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        command = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._in, 1 << 16)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        method, params = message.get("method", ""), message.get("params")
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.messages.append(params)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def wait(self, condition: str) -> None:
        code = f"""new Promise((done, fail) => {{
          const since = Date.now();
          const look = () => ({condition}) ? done() : Date.now() - since > 60000
            ? fail(new Error("waited in vain")) : setTimeout(look, 5);
          look();
        }})"""
        self.evaluate(code)

    def evaluate(self, code: str) -> Any:
        """The value of JavaScript, as JSON."""
        options = {"returnByValue": True, "awaitPromise": True}
        result = self.send("Runtime.evaluate", expression=code, **options)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str, shift: bool = False) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 * shift)

    def close(self) -> None:
        os.close(self._out)
        self._process.terminate()
        self._process.wait(10)
        os.close(self._in)

    def shoot(
        self, path: Path, width: int, height: int = 900, dark: bool = False, full: bool = False
    ):
        """A screenshot; for a person to look at."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        options = {"deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)
        picture = self.send("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(picture["data"]))
