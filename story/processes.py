"""Processes of the story and of the end-to-end tests: started here, ended here by their own id, and every wait has an end.

A process that spawn() started dies with the thread that started it, even if we are killed: so spawn from the main thread.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

from link import LOOPBACK, free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("HOLDFAST_BUILD", ROOT / "build" / "release")).resolve()
HOLDFAST = BUILD / "src" / "holdfast" / "holdfast"
# A client of what is tested, and so the product's whatever HOLDFAST_BUILD is.
REPLAY = ROOT / "build" / "release" / "story" / "replay"

class Failed(Exception):
    """Something did not happen; the text says what."""


def spawn(command, **options):
    """Starts a process of our own. It is in a session of its own, so that Ctrl-C reaches us alone and we end it in good order."""
    options.setdefault("stdin", subprocess.DEVNULL)
    words = ["setpriv", "--pdeathsig", "KILL", "--", *(str(word) for word in command)]
    return subprocess.Popen(words, start_new_session=True, **options)


def end(process, patience_s=10):
    """Asks it to stop, and kills it if it does not."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def wait_for(what, condition, seconds=10.0, tick=None, every_s=0.02):
    """Waits until condition() gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failed(f"waited {seconds:g} s for {what}")
        if tick:
            tick()
        time.sleep(every_s)


def accepts(port):
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def command(*arguments, holdfast=HOLDFAST, seconds=20):
    """Runs `holdfast ARGUMENTS` to its end."""
    return subprocess.run(
        [str(holdfast), *(str(argument) for argument in arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        start_new_session=True,
    )


class Node:
    """A Holdfast node: its data directory, its configuration, and the process while it runs."""

    def __init__(self, name, directory, holdfast=HOLDFAST):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.log_path = self.directory.with_name(self.directory.name + ".log")
        self.holdfast = holdfast
        self.port = free_port()
        self.process = None

    def init(self, claim=None, upstream_port=None, extra="", key=None):
        """Makes the data directory. `extra` is appended to its configuration."""
        # A claim says what the node is called.
        arguments = ["init", self.directory] + (["--claim", claim] if claim else ["--name", self.name])
        if key:
            arguments += ["--key", key]
        done = command(*arguments, holdfast=self.holdfast)
        if done.returncode != 0:
            raise Failed(f"holdfast init {self.directory} ended with {done.returncode}: {done.stderr.strip()}")
        self.configure(upstream_port, extra)
        return self

    def configure(self, upstream_port=None, extra=""):
        path = self.directory / "holdfast.toml"
        text = re.sub(r"(?m)^listen = .*$", f'listen = ["{LOOPBACK}:{self.port}"]', path.read_text(), count=1)
        if upstream_port:
            text += f'\n[upstream]\nhost = "{LOOPBACK}"\nport = {upstream_port}\n'
        path.write_text(text + extra)

    def start(self, seconds=20, wait=True, wrap=()):
        """`wrap`: a command that runs the node, such as strace. Without `wait` the caller uses ready()."""
        with open(self.log_path, "ab") as log:
            self.process = spawn(
                [*wrap, self.holdfast, "run", "--data", self.directory], stdout=log, stderr=subprocess.STDOUT
            )
        if wait:
            self.ready(seconds)
        return self

    def ready(self, seconds=20):
        def up():
            if self.process.poll() is not None:
                raise Failed(f"node {self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            return accepts(self.port)

        wait_for(f"node {self.name} to listen on port {self.port}", up, seconds)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self, patience_s=10):
        """A clean stop; returns the exit code."""
        end(self.process, patience_s)
        return self.process.returncode if self.process else None

    def command(self, *arguments, seconds=20):
        """`holdfast WORDS... --data DIR`"""
        return command(*arguments, "--data", self.directory, holdfast=self.holdfast, seconds=seconds)

    def status(self):
        """What `holdfast status -o json` says, or {} if nobody answers."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
            return json.loads(self.command("status", "-o", "json", seconds=10).stdout)
        return {}

    def claim_for(self, child, path, down=(), prefix=None):
        """Registers a child here and leaves its claim in the file `path`."""
        arguments = ["node", "add", child, "--claim", path]
        for each in down:
            arguments += ["--down", each]
        if prefix is not None:
            arguments += ["--prefix", prefix]
        done = self.command(*arguments)
        if done.returncode != 0:
            raise Failed(f"holdfast node add {child} ended with {done.returncode}: {done.stderr.strip()}")
        return path

    def log_tail(self, lines=15):
        try:
            text = self.log_path.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            text = []
        return "\n".join(f"  {self.name}: {line}" for line in text or ["(it logged nothing)"])
