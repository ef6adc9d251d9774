"""A headless Chromium for tests; they are skipped where there is none, and `make test-browser` installs one."""

import json
import shutil
import time

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here; make test-browser installs it")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    pytest.skip("no chromium and chromedriver here; make test-browser installs them", allow_module_level=True)


class Browser:
    """A window with an address open: what it shows, what it asks for, and the keys and clicks of a user."""

    def __init__(self, url: str, width: int = 1280, dark: bool = False) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.driver.get(url)

    def run(self, script: str) -> object:
        return self.driver.execute_script(script)

    def wait_for(self, script: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.02)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def requested(self) -> set[str]:
        """The addresses that were asked for since this was last asked, but for what a page carries itself."""
        sent = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
        return {url for url in asked if not url.startswith(("data:", "blob:"))}
