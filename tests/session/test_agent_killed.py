# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent's process is killed: nothing of its games is left."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import stepscope
from stepscope.scratch import PREFIX
from support import processes
from support.processes import wait_until

pytest.importorskip("gymnasium", reason="python3-gymnasium is not installed")

pytestmark = pytest.mark.usefixtures("runtime")

COMMAND = ["stepscope-testgame", "--backend", "wayland", "--fullscreen", "--rate", "60"]

AGENT = f"""
import stepscope
env = stepscope.%s{COMMAND!r}, width=320, height=200%s)
env.reset(seed=1)
print("ready", flush=True)
while True:
    env.step(env.action_space.sample())
"""


@pytest.mark.parametrize("make, options", [
    ("Env(", ""), ("Env(", ", xwayland=False, transport='socket'"), ("VectorEnv(3, ", ""),
], ids=["control", "socket", "three"])
def test_nothing_is_left_of_a_killed_agent(make, options, runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    agent = subprocess.Popen([sys.executable, "-c", AGENT % (make, options)],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert agent.stdout.readline() == "ready\n"
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
    wait_until(lambda: not processes.of_environment(str(runtime)), "the end of all processes")
    assert not list((runtime / "stepscope").iterdir())
    left = list(tmp_path.glob(f"{PREFIX}*"))
    assert len(left) == (3 if "3" in make else 1)
    # Its folders are removed by the next session, which leaves those of living ones alone.
    with stepscope.Session(COMMAND, xwayland=False) as living:
        with stepscope.Session(COMMAND, xwayland=False) as another:
            living.step()
            another.step()
            assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
        assert Path(living._scratch.path).exists()
    assert not list(tmp_path.glob(f"{PREFIX}*"))
