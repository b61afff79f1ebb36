#!/usr/bin/env python3
"""The story of Holdfast, told with real processes on a real recording.

A hub and a site run on this machine, each on a directory of its own; the link between them can be cut (link.py). Three devices
(replay.cc) publish the 50,270 messages of data/room_sensors.csv.gz to the site at QoS 2: a day in less than half a minute.
While they do, the link is cut in silence, the site is killed with SIGKILL and started again, and the link comes back. At the
hub Debian's mosquitto_sub collects what arrives.

    site-1/iot-device-0N/readings      replay x 3  ->  site  ->  link  ->  hub  ->  mosquitto_sub

What the table at the end says is computed here, from the bytes that left and the bytes that arrived; no node is asked.

    story/story.py [--seconds 26] [--leave]

In a terminal both nodes stay up afterwards, to be looked at, until Ctrl-C. Without one, or with CI=true, they are stopped, and
the exit code is 0 only if the table holds.
"""

import argparse
import collections
import contextlib
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from link import LOOPBACK, Link
from processes import HOLDFAST, REPLAY, ROOT, Failed, Node, end, spawn, wait_for

RECORDING = ROOT / "data" / "room_sensors.csv.gz"
SITE = "site-1"

# When what happens: by the share of the recording that was published.
CUT_AT = 0.20
KILL_AT = 0.70
MEND_AT = 0.90
DOWN_S = 1.0  # How long the site is dead.
DRAIN_MAX_S = 20  # Much more than it takes; then the story is over, and has failed.


class Recording:
    """The messages in the form in which the devices sent them, and when."""

    JSON = (
        '{"data":{"co":%(co)s,"humidity":%(humidity)s,"light":%(light)s,"lpg":%(lpg)s,"motion":%(motion)s,'
        '"smoke":%(smoke)s,"temp":%(temp)s},"device_id":"%(mac)s","ts":%(ts)s,"device":"%(device)s"}'
    )

    def __init__(self, path):
        self.payloads = collections.defaultdict(list)  # Topic -> payloads, in order.
        self.seconds = collections.defaultdict(list)  # Topic -> when each was sent.
        self.times = {}  # Payload -> that as the node should say it.
        self.devices = {}  # Topic -> device.
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            columns = next(lines).rstrip("\n").split(",")
            for line in lines:
                row = dict(zip(columns, line.rstrip("\n").split(",")))
                topic = f"{SITE}/{row['device']}/readings"
                self.devices[topic] = row["device"]
                self.payloads[topic].append((self.JSON % row).encode())
                self.seconds[topic].append(float(row["ts"]))
                self.times[self.payloads[topic][-1]] = self.rfc3339(row["ts"])
        self.count = sum(map(len, self.payloads.values()))
        self.bytes = sum(len(payload) for payloads in self.payloads.values() for payload in payloads)

    @staticmethod
    def rfc3339(seconds):
        """With microseconds; digits after those are cut off."""
        whole, _, fraction = seconds.partition(".")
        return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(whole))) + f"{fraction[:6]:0<6}Z"

    def write(self, topic, path, replay_s):
        """The file that `replay` wants, with the day squeezed into `replay_s`."""
        first = min(seconds[0] for seconds in self.seconds.values())
        last = max(seconds[-1] for seconds in self.seconds.values())
        scale = replay_s * 1000 / (last - first)
        with open(path, "wb") as file:
            for seconds, payload in zip(self.seconds[topic], self.payloads[topic]):
                file.write(b"%d\t%s\n" % ((seconds - first) * scale, payload))


class Device:
    """One publishing client, and what it says of itself."""

    def __init__(self, device, topic, path, port):
        self.device = device
        self.topic = topic
        self.said = {"published": 0, "acknowledged": 0, "connects": 0, "sessions_lost": 0}
        self.process = spawn(
            [REPLAY, "--port", port, "--id", device, "--topic", topic, "--file", path], stdout=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        for line in self.process.stdout:
            self.said = json.loads(line)

    def finished(self):
        return self.process.poll() is not None and not self._thread.is_alive()


class Collector:
    """An independent client at the hub: Debian's mosquitto_sub, MQTT 5, QoS 2, persistent session."""

    def __init__(self, port):
        self.arrived = []  # (topic, QoS, user properties, payload)
        self.process = spawn(
            ["mosquitto_sub", "-h", LOOPBACK, "-p", port, "-V", "mqttv5", "-i", "collector", "-c", "-q", "2"]
            + ["-t", f"{SITE}/#", "-D", "connect", "receive-maximum", "1000", "-F", r"%t\t%q\t%P\t%p"],
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            topic, qos, properties, payload = line.rstrip(b"\n").split(b"\t", 3)
            self.arrived.append((topic.decode(), int(qos), properties.decode(), payload))


class Judgement:
    """What became of what was published. A payload may stand in the recording twice: then it has to arrive twice."""

    def __init__(self, recording, arrived):
        self.arrived = len(arrived)
        self.lost = self.doubled = self.disordered = self.strange = self.unlabelled = 0
        for topic in {message[0] for message in arrived} | set(recording.payloads):
            expected = collections.defaultdict(collections.deque)
            for number, payload in enumerate(recording.payloads.get(topic, [])):
                expected[payload].append(number)
            newest = -1
            for _, qos, properties, payload in (message for message in arrived if message[0] == topic):
                numbers = expected.get(payload)
                if numbers is None or qos != 2:
                    self.strange += 1
                elif not numbers:
                    self.doubled += 1
                else:
                    number = numbers.popleft()
                    self.disordered += number < newest
                    newest = max(newest, number)
                labels = {f"hf-origin:{SITE}", f"hf-time:{recording.times.get(payload)}"}
                self.unlabelled += not labels <= set(properties.split(" "))
            self.lost += sum(map(len, expected.values()))


class Screen:
    """What a person sees: lines that stay, and one that lives (in a terminal) or comes every two seconds (elsewhere)."""

    PLAIN_EVERY_S = 2.0

    def __init__(self):
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colour = self.terminal and "NO_COLOR" not in os.environ
        self.started = time.monotonic()
        self._plain_last = 0.0

    def paint(self, text, code):
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def bold(self, text):
        return self.paint(text, "1")

    def say(self, text=""):
        self._print(text)

    def phase(self, text):
        self._print(f"{self.clock()}  {self.bold(text)}")

    def aside(self, text):
        self._print(f"         {self.paint(text, '2')}")

    def live(self, text):
        line = f"{self.clock()}  {text}"
        if self.terminal:
            width = shutil.get_terminal_size().columns
            print("\r\x1b[2K" + line[: width - 1], end="", flush=True)
        elif time.monotonic() - self._plain_last >= self.PLAIN_EVERY_S:
            self._plain_last = time.monotonic()
            print(line, flush=True)

    def clock(self):
        return f"{time.monotonic() - self.started:5.1f} s"

    def _print(self, text):
        print(("\r\x1b[2K" if self.terminal else "") + text, flush=True)


def count(number):
    return f"{number:,}"


def megabytes(size):
    return f"{size / 1e6:.2f} MB"


class Story:
    def __init__(self, options, directory):
        self.options = options
        self.directory = pathlib.Path(directory)
        self.screen = Screen()
        self.deadline = time.monotonic() + options.seconds + 30
        self.nodes = []
        self.devices = []
        self.link = None
        self.collector = None
        self.site_expected = True  # It is not we who killed it.
        self.phase_name = ""
        self.peak = 0  # Of the backlog.
        self.handed_over = None  # How the backlog went to the hub: (seconds, messages, bytes on the wire).
        self.drained = None  # And on to the collector: (seconds, messages).

    # --- What can be seen from outside, at both ends.

    def published(self):
        return sum(device.said["published"] for device in self.devices)

    def acknowledged(self):
        return sum(device.said["acknowledged"] for device in self.devices)

    def arrived(self):
        return len(self.collector.arrived)

    def backlog(self):
        """Acknowledged to a device and not yet at the hub. (What arrived is at times ahead of what the devices told us.)"""
        return max(0, self.acknowledged() - self.arrived())

    def tick(self):
        """While we wait: look whether all live that should, and show where we are."""
        if time.monotonic() > self.deadline:
            raise Failed("the story took too long as a whole")
        for node in self.nodes:
            if not node.running() and (node is not self.site or self.site_expected):
                raise Failed(f"node {node.name} ended by itself with {node.process.returncode}:\n{node.log_tail()}")
        if self.collector and self.collector.process.poll() is not None:
            raise Failed(f"the collector (mosquitto_sub) ended with {self.collector.process.returncode}")
        for device in self.devices:
            if device.process.poll() not in (None, 0):
                raise Failed(f"the client of {device.device} ended with {device.process.returncode}")
        if not self.devices:
            return
        self.peak = max(self.peak, self.backlog())
        bar = "▇" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
        self.screen.live(
            f"{self.phase_name:<15} published {count(self.published()):>6}  safe {count(self.acknowledged()):>6}  "
            f"at the hub {count(self.arrived()):>6}  backlog {count(self.backlog()):>6} "
            + bar * (self.backlog() * 24 // max(self.recording.count, 1))
        )

    def wait(self, what, condition, seconds):
        return wait_for(what, condition, seconds, tick=self.tick, every_s=0.05)

    def says(self, node):
        sentence = node.status().get("sentence")
        if sentence:
            self.screen.aside(f"{node.name} says: {sentence}")

    # --- The acts.

    def play(self):
        for path, wanted in ((HOLDFAST, "holdfast"), (REPLAY, "replay")):
            if not os.access(path, os.X_OK):
                raise Failed(f"{wanted} is not built ({path}); use: make run")
        if not shutil.which("mosquitto_sub"):
            raise Failed("mosquitto_sub is missing (package mosquitto-clients); use: make run")
        self.recording = Recording(RECORDING)
        self.meet()
        self.replay()
        self.cut()
        self.kill_and_restart()
        self.mend()
        return self.table()

    def meet(self):
        """Two nodes, a link, and somebody at the hub who waits for what comes."""
        self.hub = Node("hub", self.directory / "hub").init()
        self.nodes.append(self.hub)
        self.hub.start()
        claim = self.hub.claim_for(SITE, self.directory / f"{SITE}.claim")
        self.link = Link(self.hub.port)
        self.site = Node(SITE, self.directory / SITE).init(
            claim=claim,
            upstream_port=self.link.port,
            extra='\n[[event_time]]  # The devices say themselves when they measured.\nfilter = "+/+/readings"\n'
            'field = "ts"\nunit = "s"\n',
        )
        self.nodes.append(self.site)
        self.site.start()
        self.collector = Collector(self.hub.port)
        self.wait(f"{SITE} to be connected with the hub", lambda: self.site.status().get("state") == "online", 10)
        self.screen.phase(f"Two nodes: hub on port {self.hub.port}, {SITE} on port {self.site.port}.")
        self.says(self.hub)

    def replay(self):
        for topic, device in sorted(self.recording.devices.items()):
            path = self.directory / f"{device}.messages"
            self.recording.write(topic, path, self.options.seconds)
            self.devices.append(Device(device, topic, path, self.site.port))
        self.phase_name = "link up"
        self.screen.phase(
            f"Three devices replay a recorded day in {self.options.seconds:g} s: "
            f"{count(self.recording.count)} messages, QoS 2."
        )
        self.reach(CUT_AT)

    def reach(self, share):
        """Waits until that share of the recording is published."""
        target = int(self.recording.count * share)
        self.wait(
            f"{count(target)} messages to be published", lambda: self.published() >= target, self.options.seconds + 20
        )

    def cut(self):
        self.link.cut()
        self.phase_name = "link cut"
        self.screen.phase("The link is cut. Nobody is told: bytes just stop arriving.")
        # The status is asked for once a second only: starting a process each time is not free.
        asked = {"at": 0.0, "state": ""}

        def noticed():
            if time.monotonic() - asked["at"] >= 1:
                asked.update(at=time.monotonic(), state=self.site.status().get("state"))
            return asked["state"] == "offline" or self.published() >= self.recording.count * KILL_AT

        self.wait(f"{SITE} to notice that the link is dead", noticed, self.options.seconds + 20)
        self.says(self.site)
        self.reach(KILL_AT)

    def kill_and_restart(self):
        self.site_expected = False
        self.phase_name = "site killed"
        self.site.kill()
        self.screen.phase("SIGKILL to the site node, in mid-stream, with the link still down.")
        down_until = time.monotonic() + DOWN_S
        self.wait("the site to be dead for a while", lambda: time.monotonic() >= down_until, DOWN_S + 1)
        began = time.monotonic()
        self.site.start(wait=False)
        self.site_expected = True
        self.site.ready(10)
        self.phase_name = "link cut"
        self.screen.phase(f"Started again on the same directory; ready after {time.monotonic() - began:.2f} s.")
        self.wait(
            "the devices to be connected again",
            lambda: all(device.said["connects"] >= 2 or device.finished() for device in self.devices),
            10,
        )
        self.says(self.site)
        self.reach(MEND_AT)

    def mend(self):
        backlog, arrived, wire = self.backlog(), self.arrived(), self.link.bytes_up
        self.link.mend()
        began = time.monotonic()
        self.phase_name = "link back"
        self.screen.phase("The link is back.")

        def handed_over():  # This the site has to say itself: the hub's subscriber is slower than the link.
            return self.site.status().get("link", {}).get("backlog_count", backlog) <= backlog // 100

        self.wait("the site to hand its backlog over to the hub", handed_over, DRAIN_MAX_S)
        self.handed_over = (time.monotonic() - began, backlog, self.link.bytes_up - wire)

        def drained():
            # What is under way at any moment is no backlog.
            if self.drained is None and self.backlog() <= backlog // 100:
                self.drained = (time.monotonic() - began, self.arrived() - arrived)
            return all(device.finished() for device in self.devices) and self.arrived() >= self.acknowledged()

        try:
            self.wait("everything that was acknowledged to arrive at the hub", drained, DRAIN_MAX_S)
        except Failed as failure:
            if not all(device.finished() for device in self.devices):
                raise
            self.screen.phase(f"{failure}; it did not.")
        # Something that comes twice would come late.
        settled = time.monotonic() + 1
        self.wait("late arrivals", lambda: time.monotonic() >= settled, 2)
        self.phase_name = "done"
        self.screen.phase("Every device has its acknowledgements, and nothing more arrives.")
        self.says(self.site)

    def table(self):
        """Prints it; true if it holds."""
        judged = Judgement(self.recording, list(self.collector.arrived))
        published, acknowledged = self.published(), self.acknowledged()
        sessions_lost = sum(device.said["sessions_lost"] for device in self.devices)
        up, down = self.link.bytes_up, self.link.bytes_down
        rows = [
            ("published by three devices", published, published == self.recording.count, ""),
            ("acknowledged to them", acknowledged, acknowledged == published, "PUBCOMP, across SIGKILL and restart"),
            ("arrived at the hub", judged.arrived, judged.arrived == published, ""),
            ("  lost", judged.lost, judged.lost == 0, ""),
            ("  doubled", judged.doubled, judged.doubled == 0, ""),
            ("  out of order", judged.disordered, judged.disordered == 0, ""),
            ("  altered", judged.strange, judged.strange == 0, "compared byte for byte"),
            ("  without origin and time", judged.unlabelled, judged.unlabelled == 0, "hf-origin, and the device's clock as hf-time"),
            ("sessions forgotten by the site", sessions_lost, sessions_lost == 0, ""),
            ("backlog, at its largest", self.peak, None, "acknowledged, not yet at the hub"),
            ("payload", megabytes(self.recording.bytes), None, "JSON, as the devices sent it"),
            ("on the wire, up", megabytes(up), None, f"{up / self.recording.bytes:.2f} of the payload, all repeats included"),
            ("on the wire, down", megabytes(down), None, "receipts"),
        ]
        if self.handed_over and self.drained:
            seconds, messages, wire = self.handed_over
            payload = messages * self.recording.bytes / self.recording.count
            note = f"{count(int(messages / seconds))} messages a second, {wire / payload:.2f} of their payload on the wire"
            rows.append(("backlog at the hub after", f"{seconds:.1f} s", None, note))
            seconds, messages = self.drained
            note = f"{count(int(messages / seconds))} messages a second, QoS 2"
            rows.append(("and at its subscriber after", f"{seconds:.1f} s", None, note))
        self.screen.say()
        for name, value, holds, note in rows:
            text = count(value) if isinstance(value, int) else value
            mark = {True: self.screen.paint("ok", "32"), False: self.screen.paint("NO", "1;31"), None: "  "}[holds]
            self.screen.say(f"  {name:<32} {text:>10}  {mark}  {note}".rstrip())
        self.screen.say()
        return all(holds is not False for _, _, holds, _ in rows)

    def invite(self):
        """Both nodes stay up until Ctrl-C."""
        shown = lambda path: os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)
        binary = shown(HOLDFAST)
        self.screen.say("Both nodes are still up. In another terminal, in this directory:\n")
        for comment, words in (
            ("how the site is", f"{binary} status --data {self.site.directory}"),
            ("listen at the hub", f"mosquitto_sub -p {self.hub.port} -t '{SITE}/#' -v"),
            ("publish at the site", f"mosquitto_pub -p {self.site.port} -q 1 -t {SITE}/hello -m 'it works'"),
            ("what the hub keeps", f"{binary} stream ls --data {self.hub.directory}"),
            ("who is connected", f"{binary} node ls --data {self.hub.directory}"),
        ):
            self.screen.say(f"  {words}\n      {self.screen.paint('# ' + comment, '2')}")
        self.screen.say("\nCtrl-C stops them and removes what they wrote.")
        while True:
            self.deadline = time.monotonic() + 60
            for node in self.nodes:
                if not node.running():
                    raise Failed(f"node {node.name} ended with {node.process.returncode}:\n{node.log_tail()}")
            time.sleep(0.5)

    def strike(self):
        """Ends what was started, and only that."""
        for device in self.devices:
            end(device.process, 2)
        if self.collector:
            end(self.collector.process, 2)
        for node in self.nodes:
            node.stop()
        if self.link:
            self.link.close()


def stop_asked(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description="Plays the story of Holdfast with real processes")
    parser.add_argument("--seconds", type=float, default=26, help="how long the recorded day takes (default 26)")
    parser.add_argument("--leave", action="store_true", help="leave the data directories and logs behind")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop_asked)
    signal.signal(signal.SIGHUP, stop_asked)

    directory = tempfile.mkdtemp(prefix="holdfast-story-")
    story = Story(options, directory)
    interactive = sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")
    holds = interrupted = False
    try:
        holds = story.play()
        if not holds:
            story.screen.say("The table does not hold.")
        elif interactive:
            story.invite()
    except Failed as failure:
        story.screen.say(f"\nThe story failed: {failure}")
        holds = False
    except KeyboardInterrupt:
        interrupted = True
        story.screen.say("\nStopping.")
    finally:
        if not holds and not interrupted:
            for node in story.nodes:
                story.screen.say(f"\nThe last lines of {node.name}'s log:\n{node.log_tail()}")
        # A second Ctrl-C does not leave processes behind.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            story.strike()
        if options.leave:
            story.screen.say(f"Left behind: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0 if holds else 130 if interrupted else 1


if __name__ == "__main__":
    sys.exit(main())
