"""A server with the demo in it, a Superset before it, and a browser before that."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect, sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARY = Path(os.environ.get("BTRDB_FLIGHT_BIN", ROOT / "target/debug/btrdb-flight")).resolve()
PROGRAMS = Path(sys.executable).parent

API_KEY = "a-key-of-the-test"
USER, PASSWORD = "admin", "a-password-of-the-test"
# The machine may be busy with builds.
PATIENCE_SECONDS = 180

PICTURES = pytest.StashKey[Path]()


def pytest_addoption(parser):
    parser.addoption("--picture", type=Path, help="keep a picture of the chart here")


class Process:
    """A program in the background, and what it printed."""

    started = []

    def __init__(self, name, command, **options):
        self.name, self.lines = name, []
        self.started.append(self)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        # Read on, so that a chatty program never blocks.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def printed(self):
        return f"{self.name} printed:\n" + "".join(self.lines[-100:])

    def wait_until(self, ready):
        """What `ready` answers, once that is something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := ready()):
            assert self.process.poll() is None, f"{self.name} ended by itself; {self.printed()}"
            assert time.monotonic() < deadline, f"{self.name} did not start in time; {self.printed()}"
            time.sleep(0.1)
        return answer

    def stop(self):
        ended = self.process.poll()
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert ended is None, f"{self.name} ended by itself; {self.printed()}"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server that asks for a key and holds the demo."""
    assert BINARY.exists(), f"{BINARY} does not exist: build it, or name another by BTRDB_FLIGHT_BIN"
    process = Process(
        "the server",
        [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", "memory:", "--demo", "--require-api-key", API_KEY],
        cwd=tmp_path_factory.mktemp("server"),
        env=clean_environment("BTRDB_"),
    )
    try:
        found = process.wait_until(lambda: re.search(r"listening on (127\.0\.0\.1:\d+)", "".join(process.lines)))
        yield found.group(1)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def uri(server):
    """What a user types into Superset. The key is the password, which Superset hides and encrypts.

    Only this name of the dialect is an entry point. The longer one, datafusion+flightsql, is known once something has imported
    flightsql.sqlalchemy, which Superset does when it is about to list the databases that it supports.
    """
    return f"datafusion://superset:{API_KEY}@{server}?insecure=True"


@pytest.fixture(scope="session")
def superset(tmp_path_factory):
    """The URL of a Superset that knows one user and no database."""
    home = tmp_path_factory.mktemp("superset")
    env = clean_environment("SUPERSET_", "FLASK_", "PYTHONPATH") | {
        "SUPERSET_HOME": str(home),
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "FLASK_APP": "superset",
    }
    names = ["--firstname", "Ada", "--lastname", "Min", "--email", "admin@localhost"]
    for arguments in (
        ["db", "upgrade"],
        ["fab", "create-admin", "--username", USER, "--password", PASSWORD, *names],
        ["init"],
    ):
        done = subprocess.run(
            [PROGRAMS / "superset", *arguments], env=env, cwd=home, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"superset {arguments} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    # Bound here and handed on, so that nobody else takes the port meanwhile.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = Process(
            "Superset",
            [PROGRAMS / "gunicorn", "--bind", f"fd://{listener.fileno()}", "--workers", "1", "--worker-class", "gthread"]
            + ["--threads", "8", "--timeout", "300", "superset.app:create_app()"],
            cwd=home,
            env=env,
            pass_fds=[listener.fileno()],
        )
    try:
        process.wait_until(lambda: answers(url))
        yield url
    finally:
        process.stop()


def answers(url):
    try:
        return requests.get(f"{url}/health", timeout=5).text == "OK"
    except requests.RequestException:
        return False


def clean_environment(*prefixes):
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@pytest.fixture(scope="session")
def page(superset):
    """A page of a headless browser in which the user has logged in."""
    # Chromium's sandbox refuses to start for root, which is who runs things in containers.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], headless=True, args=flags)
        page = browser.new_page(base_url=superset, viewport={"width": 1280, "height": 800}, timezone_id="UTC")
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        log_in(page)
        yield page
        browser.close()


def log_in(page):
    # What the form's page still asks for when the form is sent can bring an old cookie after the new one, and then Superset
    # shows the form again: so this waits until nothing is asked, and as a person would, tries again.
    for _ in range(3):
        page.goto("/login/", wait_until="networkidle")
        page.get_by_test_id("username-input").fill(USER)
        page.get_by_test_id("password-input").fill(PASSWORD)
        page.get_by_test_id("login-button").click()
        page.wait_for_url(re.compile(r"/superset/welcome/|/login/\?next="))
        if "/login/" not in page.url:
            return
    raise AssertionError(f"cannot log in: {page.url} shows\n{page.inner_text('body')}")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, request):
    """Where pictures of what was seen are kept: a folder of pytest's, which keeps those of the last three runs."""
    request.config.stash[PICTURES] = folder = tmp_path_factory.mktemp("pictures")
    return folder


def pytest_terminal_summary(terminalreporter, config):
    if folder := config.stash.get(PICTURES, None):
        terminalreporter.write_line(f"pictures of what was seen: {folder}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """After a failure there is a picture of the page, and what the programs printed."""
    report = yield
    if report.failed:
        report.sections.extend((process.name, process.printed()) for process in Process.started)
    if report.failed and (page := item.funcargs.get("page")) and (folder := item.funcargs.get("pictures")):
        picture = folder / f"{item.name}-failed.png"
        page.screenshot(path=picture)
        report.sections.append(("the page", f"{page.url}\n{picture}\n\n{page.inner_text('body')[:3000]}"))
    return report
