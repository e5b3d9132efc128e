"""Every line of the tour in the README runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from conftest import BINARY, ROOT, Server

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- run -->\n```(sh|python)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(README)
ADDRESS = "127.0.0.1:4410"


@pytest.fixture
def demo(tmp_path):
    """Started where the blocks run: commands of the tour that look at the store find it in the working directory."""
    server = Server(tmp_path, "--demo")
    yield server
    server.stop()


def test_the_tour(demo, tmp_path):
    assert len(BLOCKS) >= 6
    names = {}
    # Functions of one block serve the later ones, as they would in a terminal.
    functions = f'btrdb-flight() {{ "{BINARY}" "$@"; }}\n'
    for language, text in BLOCKS:
        # The port of the tests is another.
        text = text.replace(ADDRESS, demo.address)
        if language == "python":
            exec(text, names)
            continue
        script = "set -euo pipefail\n" + functions + text
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), text
        functions += "".join(re.findall(r"^\w+\(\) \{.*\}\n", text, re.MULTILINE))


def test_commands_outside_the_tour_exist():
    assert "cargo run --locked -- serve --demo" in README
    assert not re.search(r"\b[A-Z]+_[A-Z]+\b|SPEEDTABLE", re.sub(r"`[^`]*`|```.*?```", "", README, flags=re.DOTALL)), "placeholders"
    assert (ROOT / "test").stat().st_mode & 0o100, "./test is executable"
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert Path(ROOT, path).exists(), path
