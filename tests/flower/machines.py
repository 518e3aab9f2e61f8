"""Machines on loopback: each has folders of its own and runs the commands of ``docs/deploy.md``."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EXAMPLE = ROOT / "examples" / "deployment"
PATIENCE = 900
"""Seconds after which a test gives up; nothing is decided by them."""


def documented(start):
    """Return the commands of the page that start so, in their order; a backslash continues one."""
    text = (ROOT / "docs" / "deploy.md").read_text().replace("\\\n        ", "")
    found = [line.strip() for line in text.splitlines() if line.startswith(f"    {start}")]
    assert found, start
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def is_listening(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Machine:
    """One machine.

    Args:
        folder: In which it has what stands in ``/etc``, ``/var/lib``, ``/srv`` and ``/run`` otherwise.
        name: Its site's, or the server's.
        port: The SuperLink's.
    """

    def __init__(self, folder, name, port):
        self.folder, self.name, self.port = folder / name, name, port
        for place in ("etc", "lib", "srv", "run", "flwr"):
            (self.folder / place).mkdir(parents=True)
        (self.folder / "lib").chmod(0o700)
        self.processes = []

    def here(self, text):
        """A text of the page or of an example, with this machine's names, folders and port."""
        for there, here in (
            ("/etc/quintain", f"{self.folder}/etc"),
            ("/var/lib/quintain", f"{self.folder}/lib"),
            ("/srv/quintain", f"{self.folder}/srv"),
            ("/run/quintain", f"{self.folder}/run"),
            ("server.example.org:8000", f"localhost:{self.port}"),
            ("server.example.org", "localhost"),
            ("--host 0.0.0.0 --port 8000", f"--host 127.0.0.1 --port {self.port}"),
        ):
            text = text.replace(there, here)
        return text

    def copy(self, *names):
        """Put files of the example into ``/etc/quintain``."""
        for name in names:
            (self.folder / "etc" / name).write_text(self.here((EXAMPLE / name).read_text()))

    @property
    def environment(self):
        return os.environ | {
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }

    def run(self, command, *, fails=False):
        """Run a command in ``/etc/quintain`` to its end; return what it said."""
        told = subprocess.run(
            ["bash", "-c", self.here(command)],
            env=self.environment,
            cwd=self.folder / "etc",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = told.stdout + told.stderr
        assert (told.returncode != 0) == fails, f"{command}: {said}"
        return said

    def start(self, command, log):
        """Start a command in ``/etc/quintain``; what it says goes to a file, after what stands there."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"],
            env=self.environment,
            cwd=self.folder / "etc",
            stdout=(self.folder / log).open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.folder / name).read_text()

    def stop(self):
        """End all that it has started and is still there."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, 15)
        for process in self.processes:
            process.wait(timeout=60)


class Restarted:
    """A command that is started again when it ends, as ``Restart=`` of systemd does.

    Attributes:
        codes: How it has ended.
    """

    def __init__(self, machine, command, log):
        self._machine, self._command, self._log = machine, command, log
        self._stopped = threading.Event()
        self.codes = []
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self):
        while not self._stopped.is_set():
            process = self._machine.start(self._command, self._log)
            code = process.wait()
            if not self._stopped.is_set():
                self.codes.append(code)

    def stop(self):
        self._stopped.set()


def wait_until(holds, process, what):
    """Wait until something holds.

    Args:
        holds: Tells.
        process: Is to bring it about; the test fails if it ends before that, or takes too long.
        what: Says what has happened in place of it.
    """
    for _ in range(PATIENCE * 5):
        if holds():
            return
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    assert holds(), what()


def copy_app(folder, more=""):
    """Copy the Flower app of the example; ``more`` is what its server's module has beside it."""
    shutil.copytree(EXAMPLE / "app", folder / "app")
    with (folder / "app" / "quintain_app" / "server.py").open("a") as file:
        file.write(more)
