"""MQTT.js for the end-to-end tests: one process of Node.js with any number of clients in it (js/client.js)."""

import base64
import json
import pathlib
import shutil
import subprocess
import threading

from processes import ROOT, Failed, end, spawn, wait_for

FOLDER = ROOT / "build" / "js"  # scripts/install.sh test


def unavailable():
    """Why there is no MQTT.js here; empty if there is."""
    if not shutil.which("node"):
        return "Node.js is missing; use: scripts/install.sh test"
    if not (FOLDER / "node_modules" / "mqtt").exists():
        return "MQTT.js is missing; use: scripts/install.sh test"
    return ""


class Message:
    def __init__(self, said):
        self.topic = said["topic"]
        self.payload = base64.b64decode(said["payload"])
        self.qos = said["qos"]
        self.retain = said["retain"]
        self.properties = said["properties"]


class JsError(Exception):
    """A callback came with an error."""

    def __init__(self, said):
        super().__init__(said["error"])
        self.code = said.get("code")


class JsClient:
    """One client. What happened to it is in `messages` and `events`, in order."""

    def __init__(self, process, name, url, options):
        self.process = process
        self.name = name
        self.messages = []
        self.events = []  # (event, what was said)
        process.clients[name] = self
        process.ask("connect", name, url=url, options={"clientId": name, **options})

    def count(self, event):
        return sum(1 for each, _ in self.events if each == event)

    def online(self):
        return [event for event, _ in self.events if event in ("connect", "close")][-1:] == ["connect"]

    def connected(self, times=1, seconds=10):
        """Waits for so many CONNACKs in all; returns what the last one said."""
        wait_for(f"MQTT.js client {self.name} to connect", lambda: self.count("connect") >= times, seconds)
        return [said for event, said in self.events if event == "connect"][-1]

    def begin_publish(self, topic, payload, qos=0, **options):
        payload = payload if isinstance(payload, bytes) else payload.encode()
        return self.process.begin(
            "publish", self.name, topic=topic, payload=base64.b64encode(payload).decode(), options={"qos": qos, **options}
        )

    def publish(self, topic, payload, qos=0, seconds=10, **options):
        """To its callback: at QoS 1 and 2 that is the end of the handshake."""
        return self.process.finish(self.begin_publish(topic, payload, qos, **options), seconds)

    def subscribe(self, topics, qos=0, **options):
        return self.process.ask("subscribe", self.name, topics=topics, options={"qos": qos, **options})

    def unsubscribe(self, topics):
        return self.process.ask("unsubscribe", self.name, topics=topics)

    def end(self, force=False):
        return self.process.ask("end", self.name, force=force)

    def drop(self):
        return self.process.ask("drop", self.name)

    def wait(self, count, seconds=10):
        """Waits for so many messages in all, and returns them."""
        wait_for(f"{count} messages at MQTT.js client {self.name}", lambda: len(self.messages) >= count, seconds)
        return self.messages


class MqttJs:
    def __init__(self):
        self.clients = {}
        self._answers = {}
        self._last = 0
        script = pathlib.Path(__file__).resolve().parent / "js" / "client.js"
        self._process = spawn(
            ["node", script, FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._complaints = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._complain, daemon=True).start()

    def client(self, name, url, **options):
        return JsClient(self, name, url, options)

    def _read(self):
        for line in self._process.stdout:
            said = json.loads(line)
            if "id" in said:
                self._answers[said["id"]] = said
                continue
            client = self.clients[said["client"]]
            if said["event"] == "message":
                client.messages.append(Message(said))
            else:
                client.events.append((said["event"], said))

    def _complain(self):
        for line in self._process.stderr:
            self._complaints.append(line.decode(errors="replace"))

    def begin(self, what, client, **more):
        self._last += 1
        request = {"id": self._last, "do": what, "client": client, **more}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self._last

    def done(self, request):
        return request in self._answers

    def finish(self, request, seconds=10):
        def answered():
            if self._process.poll() is not None:
                raise Failed("Node.js ended: " + "".join(self._complaints[-20:]))
            return self.done(request)

        wait_for("an answer of MQTT.js", answered, seconds, every_s=0.005)
        said = self._answers.pop(request)
        if "error" in said:
            raise JsError(said)
        return said["ok"]

    def ask(self, what, client, seconds=10, **more):
        return self.finish(self.begin(what, client, **more), seconds)

    def close(self):
        end(self._process, 3)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()
