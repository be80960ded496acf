"""Looks at a page of `train-cli report` in headless Chromium: report_browser.py CHROMIUM PAGE [SCREENSHOT].

Speaks the DevTools protocol over two pipes, so that nothing but Python and Chromium is needed. Fails at the first
thing that is wrong, and says what.
"""

import base64
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
WIDTHS = (360, 768, 1200)


class Browser:
    """A browser at the other end of two pipes, with one page."""

    def __init__(self, program, profile):
        ours, theirs = os.pipe(), os.pipe()
        # Above the numbers that the browser wants: it reads from 3 and writes to 4.
        reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (ours[0], theirs[1]))

        def connect():
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                 "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen([program, *flags], preexec_fn=connect, pass_fds=(3, 4),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (ours[0], theirs[1], reads, writes):
            os.close(fd)
        self.to, self.of = ours[1], theirs[0]
        self.left, self.number, self.session, self.events = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.left:
            part = os.read(self.of, 1 << 16)
            if not part:
                raise SystemExit("the browser has ended")
            self.left += part
        one, self.left = self.left.split(b"\0", 1)
        return json.loads(one)

    def ask(self, method, **parameters):
        self.number += 1
        question = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            question["sessionId"] = self.session
        data = json.dumps(question).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while True:
            answer = self.message()
            if answer.get("id") != self.number:
                self.events.append(answer)
            elif "error" in answer:
                raise SystemExit(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def script(self, code):
        """The value of an expression; promises are awaited."""
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise SystemExit(f"{code}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def frame(self):
        """Waits until what has changed is laid out and drawn."""
        self.script("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def look(self, width, scheme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                 mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", media="screen",
                 features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.frame()

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                     windowsVirtualKeyCode={"ArrowLeft": 37, "ArrowRight": 39, "Home": 36}[name])
        self.frame()

    def wrong(self, page):
        """What the browser has complained of, and what it has asked for beside the page."""
        for event in self.events:
            about = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    yield f"exception: {about['exceptionDetails']}"
                case "Runtime.consoleAPICalled" if about["type"] in ("error", "warning", "assert"):
                    yield f"console: {about['args']}"
                case "Log.entryAdded" if about["entry"]["level"] in ("error", "warning"):
                    yield f"log: {about['entry']}"
                case "Network.requestWillBeSent":
                    url = about["request"]["url"]
                    if url != page and not url.startswith("data:"):
                        yield f"request: {url}"


def check(what, holds):
    if not holds:
        raise SystemExit(f"{what}: not so")


def load(browser, page):
    browser.ask("Page.navigate", url=page)
    until = time.monotonic() + PATIENCE
    while browser.script("document.documentElement?.dataset.ready") != "yes":
        if time.monotonic() > until:
            raise SystemExit(f"the page has not drawn itself: {list(browser.wrong(page))}")
    browser.frame()


def layout(browser):
    """Nothing is wider than the window, and both schemes have colours of their own."""
    grounds = set()
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            browser.look(width, scheme)
            grounds.add((scheme, browser.script("getComputedStyle(document.body).backgroundColor")))
            wide = browser.script("""(() => {
                const view = document.documentElement.clientWidth;
                if (document.documentElement.scrollWidth <= view) return [];
                return [...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > view + 1)
                    .map(one => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`).slice(0, 5);
            })()""")
            check(f"nothing overflows at {width} pixels in {scheme}: {wide}", wide == [])
    check(f"light and dark differ: {grounds}", len(grounds) == 2)


def pictures(browser):
    """The slider of every run shows another picture, by hand and by keyboard."""
    sliders = browser.script('document.querySelectorAll("input.slider").length')
    for index in range(sliders):
        slider = f'document.querySelectorAll("input.slider")[{index}]'
        state = f'(s => [s.value, s.closest("figure").querySelector("img").src, s.closest("figure").querySelector("figcaption").textContent])({slider})'
        seen = [browser.script(state)]
        browser.script(f'(s => {{ s.value = 0; s.dispatchEvent(new Event("input")); }})({slider})')
        seen.append(browser.script(state))
        browser.script(f"{slider}.focus()")
        browser.key("ArrowRight")
        seen.append(browser.script(state))
        check(f"slider {index} moves", [one[0] for one in seen[1:]] == ["0", "1"] and seen[0][0] != "0")
        check(f"slider {index} changes picture and caption", len({one[1] for one in seen}) == len({one[2] for one in seen}) > 1)
        check("its pictures can be decoded", browser.script(f'{slider}.closest("figure").querySelector("img").decode().then(() => true)'))
    return sliders


def curves(browser):
    """Lines are drawn; pointing at them says values; switches change them."""
    lines = 'document.querySelectorAll(".chart path.curve").length'
    drawn = browser.script(lines)
    check("there are curves", drawn > 0)
    browser.script('document.querySelector(".chart").scrollIntoView({block: "center"})')
    browser.frame()
    box = browser.script('(b => [b.left + b.width / 2, b.top + b.height / 2])(document.querySelector(".chart svg").getBoundingClientRect())')
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    browser.frame()
    told = browser.script('(t => t.hidden ? "" : t.innerText)(document.getElementById("tip"))')
    check(f"the curve says its value: {told!r}", "epoch" in told or "update" in told)
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    first = '[...document.querySelectorAll(".chart svg")].map(one => one.innerHTML).join("")'
    before = browser.script(first)
    for switch in ('.chart input[type=checkbox]', 'input[name=over]:not(:checked)'):
        browser.script(f"document.querySelector('{switch}').click()")
        browser.frame()
        after = browser.script(first)
        check(f"{switch} redraws", after != before)
        before = after
    if browser.script('document.getElementById("legend") !== null'):
        browser.script('document.querySelector("#legend input").click()')
        browser.frame()
        check("a run that is switched off is gone", 0 < browser.script(lines) < drawn)
        browser.script('document.querySelector("#legend input").click()')
        browser.frame()
        check("and comes back", browser.script(lines) == drawn)
    return drawn


def store(browser, path):
    """A picture of the head of the page, and beside it one of the first classifier that it judges."""
    capture(browser, path, 0, 1620)
    bounds = browser.script("""(table => {
        if (!table) return null;
        const part = table.closest(".run"), top = part.querySelector("h3").getBoundingClientRect().top;
        const tiles = [...part.querySelectorAll(".tiles figure")].slice(0, 8);
        return [top, tiles.length ? tiles[tiles.length - 1].getBoundingClientRect().bottom : top + 600].map(edge => edge + scrollY);
    })(document.querySelector(".confusion"))""")
    if bounds:
        capture(browser, path.with_stem(path.stem + "_classes"), bounds[0] - 24, bounds[1] + 6)


def capture(browser, path, top, bottom):
    clip = {"x": 0, "y": top, "width": 1200, "height": bottom - top, "scale": 1}
    shot = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    path.write_bytes(base64.b64decode(shot["data"]))


def main(program, page, screenshot=None):
    file = pathlib.Path(page).resolve()
    check("the page is below 5 MB", file.stat().st_size < 5_000_000)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            browser.look(1200, "light")
            load(browser, file.as_uri())
            layout(browser)
            browser.look(1200, "light")
            check("everything is in words", browser.script('!/\\[object|undefined|NaN/.test(document.getElementById("page").innerText)'))
            moved, drawn = pictures(browser), curves(browser)
            browser.ask("Page.printToPDF")
            load(browser, file.as_uri())
            browser.look(1200, "light")
            if screenshot:
                store(browser, pathlib.Path(screenshot))
            wrong = list(browser.wrong(file.as_uri()))
            check(f"no error and no request: {wrong}", wrong == [])
        finally:
            browser.process.terminate()
            browser.process.wait()
    print(f"the page is as it should be: {file.stat().st_size / 1e6:.2f} MB, {drawn} curves, {moved} sliders, "
          f"{len(WIDTHS)} widths in light and dark, no request")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
