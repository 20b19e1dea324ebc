"""Opens the report page in Chromium and uses it.

usage: check.py CHROMIUM CHROMEDRIVER REGIMEN FOLDER [PICTURES]

REGIMEN is the program, FOLDER an empty folder. With PICTURES, a folder, it writes the pictures of the guide there.
"""

import base64
import contextlib
import datetime
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import runs

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --window-size=1360,900""".split()


@contextlib.contextmanager
def browser(chromium, chromedriver):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
        try:
            yield driver
        finally:
            driver.quit()


class Page:
    """The page in a browser, and the checks of it."""

    def __init__(self, driver, file):
        self.driver, self.checks = driver, 0
        driver.get(pathlib.Path(file).as_uri())
        self.script("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def frame(self):
        """Waits until what has changed is drawn."""
        self.driver.execute_async_script("const done = arguments[arguments.length - 1]; requestAnimationFrame(() => requestAnimationFrame(() => done()))")

    def press(self, keys, element="body"):
        self.driver.find_element(By.CSS_SELECTOR, element).send_keys(keys)
        self.frame()

    def click(self, element):
        self.driver.find_element(By.CSS_SELECTOR, element).click()
        self.frame()

    def pixels(self):
        """The picture of the first chart."""
        return self.script("return document.querySelector('.chart canvas').toDataURL()")

    def is_(self, what, found, expected):
        self.checks += 1
        assert found == expected, f"{what}: {found!r}, not {expected!r}"

    def changes(self, what, act):
        """The picture of the first chart is another one afterwards."""
        before = self.pixels()
        act()
        self.frame()
        self.checks += 1
        assert self.pixels() != before, f"{what} leaves the chart as it was"

    def errors(self):
        log = self.driver.get_log("browser")
        self.is_("the console", [entry["message"] for entry in log if entry["level"] == "SEVERE"], [])


def last_places(folder):
    """The step of the last epoch in a log, its number, and the seconds from the start to the last step."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    step, epoch = max((record["step"], record["epoch"]) for record in records if record["epoch"])
    times = [json.loads((folder / "environment.jsonl").read_text())["time"]]
    times += [line.split()[0] for line in (folder / "log.txt").read_text().splitlines() if line.startswith("20")]
    start, end = (datetime.datetime.fromisoformat(time) for time in [times[0], times[-1]])
    return {"steps": (step, step), "epochs": (step, epoch), "seconds": (records[-1]["step"], (end - start).total_seconds())}


def check(page, folders, pdf):
    names = [folder.name for folder in folders]
    listed = "return Array.from(document.querySelectorAll('#runs .name'), name => name.textContent)"
    page.is_("the list of runs", page.script(listed), names)
    page.is_("charts that are drawn", page.script("return document.querySelectorAll('.chart canvas').length > 3"), True)

    # Hide a run and show it again.
    first = "#runs li:first-child"
    page.changes("hiding a run", lambda: page.click(f"{first} .swatch"))
    page.is_("its button", page.script(f"return document.querySelector('{first} .swatch').ariaPressed"), "false")
    page.changes("showing it", lambda: page.click(f"{first} .swatch"))
    page.driver.execute_script("document.querySelectorAll('#runs li').forEach(li => li.dispatchEvent(new MouseEvent('mouseleave')))")
    page.frame()

    # Zoom by keyboard and back; then with the mouse.
    chart = ".chart"
    page.changes("zooming", lambda: page.press("+", chart))
    page.is_("the button of the range", page.script("return document.getElementById('zoom').hidden"), False)
    narrow = page.script("return charts[0].now.x")
    page.changes("moving", lambda: page.press(Keys.SHIFT + Keys.ARROW_RIGHT, chart))
    moved = page.script("return charts[0].now.x")
    page.is_("the range to the right", moved[0] > narrow[0] and abs((moved[1] - moved[0]) - (narrow[1] - narrow[0])) < 1e-6 * moved[1], True)
    page.changes("the whole range", lambda: page.press("r"))
    over = page.driver.find_element(By.CSS_SELECTOR, ".chart .u-over")
    actions = webdriver.ActionChains(page.driver)
    page.changes("zooming with the mouse", lambda: actions.move_to_element_with_offset(over, -60, 0).click_and_hold().move_by_offset(100, 0).release().perform())
    page.is_("the range of the mouse", page.script("return view.range !== null"), True)
    page.is_("what is read at the cursor", page.script("return document.querySelector('.chart .read').textContent !== ''"), True)
    page.press("r")

    # The x axes, by keyboard, each with the place of the last step of the first run. No samples are known.
    last = last_places(folders[0])
    for axis in ["epochs", "seconds", "steps"]:
        page.changes(f"the axis {axis}", lambda: page.press("x"))
        page.is_("the axis", page.script("return view.axis"), axis)
        at, expected = last[axis]
        found = page.script("return place(runs[0], view.axis, arguments[0])", at)
        # The times of `log.txt` are whole seconds.
        page.is_(f"the last place along {axis}", abs(found - expected) <= (1 if axis == "seconds" else 0), True)
    page.changes("a logarithmic axis", lambda: page.press("l"))
    page.press("l")
    page.changes("smoothing", lambda: page.press("s"))
    page.press("S")

    # Sort by keyboard.
    step = page.script("return Array.from(document.querySelectorAll('#compare th button'), b => b.textContent).indexOf('learning_rate')")
    head = f"#compare th button[data-column='{step}']"
    page.press(Keys.ENTER, head)
    order = "return Array.from(document.querySelectorAll('#compare tbody tr'), row => runs[row.dataset.run].hyper_parameters.learning_rate)"
    rates = page.script(order)
    page.is_("the table", rates, sorted(rates))
    page.press(Keys.ENTER, head)
    page.is_("the table the other way", page.script(order), sorted(rates, reverse=True))
    page.is_("the focus", page.script("return document.activeElement.dataset.column"), str(step))

    # Which accuracy is the best is not known.
    bests = "return Array.from(document.querySelectorAll('#compare td.best'), cell => document.querySelectorAll('#compare th button')[cell.cellIndex].title)"
    page.is_("the best values", set(page.script(bests)), {"smallest eval/loss", "smallest train/loss"})

    # Themes, and the details of a run that failed.
    theme = page.script("return document.documentElement.dataset.theme")
    page.changes("the theme", lambda: page.press("t"))
    page.is_("the theme", page.script("return document.documentElement.dataset.theme") != theme, True)
    page.press("t")
    for _ in names[1:]:
        page.press("j")
    page.is_("the chosen run", page.script("return document.querySelector('#details h2').textContent"), names[-1])
    page.is_("its last steps", page.script("return document.querySelectorAll('[aria-label=\"Last steps\"] tbody tr').length"), 4)
    page.is_("its error", page.script("return document.querySelectorAll('.line-of-time .error').length"), 1)
    page.press("?")
    page.is_("the keys", page.script("return document.getElementById('keys').open"), True)
    page.script("document.getElementById('keys').close()")

    # On paper.
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf.write_bytes(base64.b64decode(printed["data"]))
    page.is_("the paper", pdf.read_bytes()[:5], b"%PDF-")
    page.is_("charts on paper", page.script("return built.size === charts.filter(chart => chart.element.offsetParent).length"), True)
    page.is_("the theme after it", page.script("return document.documentElement.dataset.theme"), theme)
    page.errors()


def picture(page, file, theme, height=900):
    page.driver.set_window_size(1360, height)
    page.script("setTheme(arguments[0])", theme)
    time.sleep(0.5)
    page.frame()
    # 64 colours are enough, and a third of the bytes.
    shown = Image.open(io.BytesIO(page.driver.get_screenshot_as_png()))
    shown.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def main():
    chromium, chromedriver, regimen, folder = sys.argv[1:5]
    pictures = pathlib.Path(sys.argv[5]).resolve() if len(sys.argv) > 5 else None
    folder = pathlib.Path(folder).resolve()
    few, many = runs.few(folder / "few"), runs.many(folder / "many")

    def report(file, folders):
        subprocess.run([regimen, "report", *map(str, folders), "-o", str(file)], check=True)

    report(folder / "few.html", few)
    report(folder / "many.html", many)
    with browser(chromium, chromedriver) as driver:
        page = Page(driver, folder / "few.html")
        check(page, few, folder / "few.pdf")
        total = page.checks
        if pictures:
            page = Page(driver, folder / "few.html")
            page.script("setSmoothing(0.5)")
            picture(page, pictures / "report-light.png", "light")
            picture(page, pictures / "report-dark.png", "dark")
        page = Page(driver, folder / "many.html")
        page.is_("runs in the table", page.script("return document.querySelectorAll('#compare tbody tr').length"), 100)
        page.changes("hiding a run of many", lambda: page.click("#runs li:nth-child(1) .swatch"))
        page.click("#runs li:nth-child(1) .swatch")
        page.errors()
        if pictures:
            page.script("document.getElementById('colours').value = '2'; document.getElementById('colours').dispatchEvent(new Event('change'))")
            picture(page, pictures / "report-100.png", "light")
        print(f"{total + page.checks} checks in {driver.capabilities['browserName']} {driver.capabilities['browserVersion']}")


main()
