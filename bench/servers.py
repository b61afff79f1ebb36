"""The servers that are measured: started on a free loopback port in a directory of their own, ended by process id.

Every server is new for every run: an empty directory, no session, nothing cached. Configurations are those that
the packages ship, except where a line says why not.
"""

import json
import pathlib
import re
import select
import signal
import socket
import subprocess
import time


class Trouble(Exception):
    """A server or generator did not do what it should; the run has no result."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_until(what, condition, timeout_s, process=None):
    end = time.monotonic() + timeout_s
    while not condition():
        if process is not None and process.poll() is not None:
            raise Trouble(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise Trouble(f"{what}: not within {timeout_s} s")
        time.sleep(0.005)


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_tool(command, timeout_s):
    """Runs a program to its end and gives what it printed."""
    try:
        done = subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"{pathlib.Path(command[0]).name}: not done within {timeout_s} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Trouble(f"{pathlib.Path(command[0]).name}: {said[-1] if said else f'exit {done.returncode}'}")
    return done.stdout


class Lines:
    """A program that prints JSON lines while it runs."""

    def __init__(self, command):
        self.name = pathlib.Path(command[0]).name
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.unread = b""

    def next(self, timeout_s):
        end = time.monotonic() + timeout_s
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise Trouble(f"{self.name}: said nothing within {timeout_s:.0f} s")
            more = self.process.stdout.read1(65536)
            if not more:
                raise Trouble(f"{self.name}: ended too early")
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        if not line.startswith(b"{"):
            raise Trouble(line.decode(errors="replace"))
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


class Server:
    """A process that listens on `port`. Used as a context: leaving it ends the process."""

    def __init__(self, directory, port=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.process = None

    def prepare(self):
        """Writes configuration; once."""

    def command(self):
        raise NotImplementedError

    def start(self, wait=True):
        if self.process is None:
            self.prepare()
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            if wait:
                wait_until(f"{self.name} listens", lambda: listens(self.port), 30, self.process)
        except BaseException as error:
            self.kill()  # Nobody will leave a context that was not entered.
            if isinstance(error, Trouble):
                raise Trouble(f"{error}; it said: {self.last_words()}") from None
            raise
        return self

    def last_words(self):
        lines = (self.directory / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing"

    def stop(self, timeout_s=60):
        """Asks for a clean stop, and takes it after a while."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise Trouble(f"{self.name}: did not stop within {timeout_s} s") from None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()  # Nothing of it is needed any more.


class Holdfast(Server):
    name = "Holdfast"
    binary = None
    upstream_port = None
    claim = None
    node = "bench"

    def prepare(self):
        data = self.directory / "data"
        command = [self.binary, "init", data, "--name", self.node]
        run_tool(command + (["--claim", self.claim] if self.claim else []), 30)
        config = data / "holdfast.toml"
        lines = config.read_text().replace("127.0.0.1:1883", f"127.0.0.1:{self.port}")
        if self.upstream_port:
            lines += f'\n[upstream]\nhost = "127.0.0.1"\nport = {self.upstream_port}\n'
        config.write_text(lines)

    def command(self):
        return [self.binary, "run", "--data", self.directory / "data"]

    def add_node(self, name):
        """Registers a node below this one; gives the claim file for its `claim`."""
        claim = self.directory / f"{name}.claim"
        run_tool([self.binary, "node", "add", name, "--claim", claim, "--data", self.directory / "data"], 30)
        return claim

    @classmethod
    def version(cls):
        return run_tool([cls.binary, "version"], 10).strip().removeprefix("holdfast ")


class HoldfastInClear(Holdfast):
    """Built for this comparison only: the same program, but its files hold plain bytes and checksums."""

    name = "in clear"


class Mosquitto(Server):
    name = "Mosquitto"
    binary = "mosquitto"
    bridge_port = None
    extra = ()

    def prepare(self):
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.directory}/",
            "autosave_interval 1800",  # The default, said aloud: this is when an acknowledged message is on disk.
            "max_queued_messages 0",  # As shipped it drops what is over 1,000 in silence.
            "set_tcp_nodelay true",
            *self.extra,
        ]
        if self.bridge_port:
            lines += [
                "connection up",
                f"address 127.0.0.1:{self.bridge_port}",
                "topic bench/# out 1",
                "cleansession false",
                "restart_timeout 1",  # The wait before it dials again does not count, so keep it short.
            ]
        (self.directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def command(self):
        return [self.binary, "-c", self.directory / "mosquitto.conf"]

    @classmethod
    def version(cls):
        said = subprocess.run([cls.binary, "-h"], capture_output=True, text=True, timeout=10).stdout
        return re.search(r"mosquitto version (\S+)", said)[1]


class Redis(Server):
    name = "Redis"
    binary = "redis-server"

    def command(self):
        # No snapshots beside the log: the append-only file alone is what an acknowledgement stands for.
        return [
            *(self.binary, "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ]

    @classmethod
    def version(cls):
        return re.search(r"v=(\S+)", run_tool([cls.binary, "--version"], 10))[1]


class Nats(Server):
    name = "NATS"
    binary = "nats-server"

    def prepare(self):
        (self.directory / "nats.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.directory}/jetstream" }}\n'
        )

    def command(self):
        return [self.binary, "-c", self.directory / "nats.conf"]

    @classmethod
    def version(cls):
        return re.search(r"v(\d+\.\d+\.\d+)", run_tool([cls.binary, "--version"], 10))[1]


class FlashMq(Server):
    name = "FlashMQ"
    binary = None

    def prepare(self):
        (self.directory / "flashmq.conf").write_text(
            f"""thread_count 1
allow_anonymous true
storage_dir {self.directory}
log_file {self.directory}/flashmq.log
# Its largest values: as shipped it drops what is over 512 messages or 64 KiB of a session in silence.
max_qos_msg_pending_per_client 65535
max_qos_bytes_pending_per_client 2147483647
listen {{
  protocol mqtt
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
  port {self.port}
}}
"""
        )

    def command(self):
        return [self.binary, "--config-file", self.directory / "flashmq.conf"]

    @classmethod
    def version(cls):
        return re.search(r"(\d+\.\d+\.\d+)", run_tool([cls.binary, "--version"], 10))[1]
