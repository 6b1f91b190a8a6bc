"""Chromium without a window, driven by its own protocol over a pipe: no driver, no port."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. ``said`` holds what its console said and every error that nothing caught."""

    def __init__(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        path = find_browser()
        assert path is not None
        self._home = tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True)
        command = [
            *("sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", path),
            *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
            *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
            f"--user-data-dir={self._home.name}",
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._number = 0
        self._rest = b""
        self.said: list[str] = []
        self.fetched: list[str] = []
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Network.emulateNetworkConditions", **OFFLINE)
        self.shape(width, height, dark=dark)

    def shape(self, width: int, height: int, *, dark: bool) -> None:
        """The size of the window, and whether the reader likes it dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path: Path) -> None:
        """Load a file and wait until its script has run."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, waited for."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.send("Runtime.evaluate", **asked)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression of the page is true, ten seconds at most."""
        script = (
            "new Promise((yes, no) => { const end = Date.now() + 10000; const look = () => "
            f"({condition}) ? yes() : Date.now() > end ? no('never: ' + {condition!r}) "
            ": setTimeout(look, 20); look(); })"
        )
        self.run(script)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer; events on the way are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer.get("method"), answer.get("params", {}))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._home.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _keep(self, event: str | None, parameters: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.said.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.said.append(parameters["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.said.append(json.dumps(parameters["args"]))
        elif event == "Network.requestWillBeSent":
            self.fetched.append(parameters["request"]["url"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\0" not in self._rest:
            part = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            assert part, "the browser has gone"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
