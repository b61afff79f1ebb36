"""Seen from outside: clients, subscriptions, retained messages, queues and records, through the command line."""

import base64
import csv
import io
import json
import os
import pty
import re
import select
import socket
import subprocess
import time

from harness import Case, Failed, publish, wait_for
from processes import HOLDFAST
from mqtt import V5

HOSTILE = "evil\x1b[2J\x7f\u009b"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def ask(node, **request):
    """One request over the admin socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(node.directory / "admin.sock"))
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(1 << 20)
            if not part:
                raise Failed("the node closed the connection")
            answer += part
        return json.loads(answer)


def pages(node, rows, **request):
    """All rows of a list, and how many pages they came in."""
    found, count = [], 0
    while True:
        answer = ask(node, **request)
        assert answer["ok"], answer
        found += answer[rows]
        count += 1
        if "cursor" not in answer:
            return found, count
        request["cursor"] = answer["cursor"]


def most_memory(pid):
    """KiB that the process had at most since it became this program; 0: it has ended. (Its ru_maxrss counts what the process
    was that started it.)"""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmHWM:\s+(\d+)", status.read())
        return int(found[1]) if found else 0


class Seen(Case):
    def said(self, node, *words, code=0, seconds=20):
        done = node.command(*words, seconds=seconds)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if code == 0 else done.stderr

    def listed(self, node, *words):
        return json.loads(self.said(node, *words, "-o", "json"))

    def away(self, node, client_id, *subscriptions, **options):
        client = self.client(node.port, client_id, subscribe=list(subscriptions), **options).open()
        client.abort()
        wait_for(f"{client_id} to be away", lambda: not ask(node, command="client", name=client_id)["client"]["connected"], 5)
        return client

    def raw(self, node, client_id):
        """An MQTT 5 client that says nothing by itself: receive maximum 5, session expiry 1 h."""
        connection = socket.create_connection(("127.0.0.1", node.port), timeout=10)
        properties = b"\x21\x00\x05\x11\x00\x00\x0e\x10"
        body = b"\x00\x04MQTT\x05\x00\x00\x00" + bytes([len(properties)]) + properties + bytes([0, len(client_id)]) + client_id
        connection.sendall(bytes([0x10, len(body)]) + body)
        self.assertEqual(0x20, connection.recv(1000)[0])
        return connection

    def at_terminal(self, *arguments, typed="", columns=80):
        """Runs the program at a terminal of its own; returns its exit code and all that it wrote there."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["COLUMNS"] = str(columns)
            os.execv(str(HOLDFAST), [str(HOLDFAST), *map(str, arguments)])
        out = b""
        try:
            if typed:
                os.write(terminal, typed.encode())
            while select.select([terminal], [], [], 20)[0]:
                try:
                    part = os.read(terminal, 65536)
                except OSError:
                    break
                if not part:
                    break
                out += part
        finally:
            os.close(terminal)
            _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), out.decode()

    def test_clients_are_listed_and_shown(self):
        """Goal: who is there, who is away, since when, and what each is owed. Method: one of each, at both versions."""
        node = self.hub()
        panel = self.client(node.port, "panel", version=V5, subscribe=[("engine/+/rpm", 0), ("news/#", 2)]).open()
        self.away(node, "press-7", ("engine/#", 1))
        for number in range(3):
            publish(node.port, "engine/1/rpm", f"{number}", qos=1)
        clients = {client["client"]: client for client in self.listed(node, "client", "ls")["clients"]}
        self.assertEqual(["panel", "press-7"], sorted(clients))
        there, gone = clients["panel"], clients["press-7"]
        self.assertEqual((True, "5.0", 2, "127.0.0.1"), (there["connected"], there["version"], there["subscription_count"], there["address"]))
        self.assertEqual((False, "3.1.1", 3, None), (gone["connected"], gone["version"], gone["owed_count"], gone["address"]))
        text = self.said(node, "client", "ls").splitlines()
        self.assertTrue(text[0].startswith("CLIENT"))
        self.assertLessEqual(max(map(len, text)), 80)
        shown = self.listed(node, "client", "show", "press-7")["client"]
        self.assertEqual(["engine/#"], [one["filter"] for one in shown["subscriptions"]])
        self.assertEqual(3600 * 24 * 7, shown["expiry_s"])
        self.assertIn("owed:       3 messages", self.said(node, "client", "show", "press-7"))
        self.assertIn("client ls", self.said(node, "client", "show", "nobody", code=1))
        panel.disconnect()

    def test_rights_are_said_in_words(self):
        node = self.node("node")
        (node.directory / "permissions.toml").write_text('[[permission]]\nuser = ""\npublish = ["open/%c/#"]\nsubscribe = ["news/#"]\n')
        node.start()
        self.client(node.port, "anyone", subscribe=[("news/#", 0)]).open()
        said = self.said(node, "client", "show", "anyone")
        self.assertRegex(said, r"may publish: +open/anyone/#\n|may publish: +nothing\n")
        self.assertRegex(said, r"may subscribe: +news/#\n")
        self.assertRegex(said, r"may retain: +nothing\n")

    def test_a_client_is_kicked(self):
        """Goal: MQTT 5 hears 0x98; the session stays, unless it is forgotten; that asks, and is durable."""
        node = self.hub()
        sub = self.listener(node.port, "x/#", "-i", "panel", "-c", qos=1)
        said = self.said(node, "client", "kick", "panel")
        self.assertIn("its session is kept", said)
        sub.stop()
        with self.raw(node, b"told") as told:
            self.said(node, "client", "kick", "told", "-o", "json")
            packet = told.recv(100)
            self.assertEqual((0xE0, 0x98), (packet[0], packet[2]), "DISCONNECT: administrative action")
            self.assertEqual(b"", told.recv(100))
        self.said(node, "client", "kick", "told", "--forget", "--yes")
        publish(node.port, "x/1", "owed", qos=1)
        wait_for("what is owed", lambda: ask(node, command="client", name="panel")["client"]["owed_count"] == 1, 5)
        self.assertIn("--forget", self.said(node, "client", "kick", "panel", code=1))
        refused = self.said(node, "client", "kick", "panel", "--forget", code=2)
        self.assertIn("1 subscription and 1 message (", refused)
        self.assertIn("--yes", refused)
        code, out = self.at_terminal("client", "kick", "panel", "--forget", "--data", node.directory, typed="n\n")
        self.assertEqual(1, code, out)
        self.assertIn("nothing was changed", out)
        code, out = self.at_terminal("client", "kick", "panel", "--forget", "--data", node.directory, typed="y\n")
        self.assertEqual(0, code, out)
        node.kill()
        node.start()
        self.assertEqual([], self.listed(node, "client", "ls")["clients"])
        self.assertIn("client ls", self.said(node, "client", "kick", "panel", "--yes", code=1))

    def test_subscriptions_and_who_gets_a_message(self):
        node = self.hub()
        self.client(node.port, "panel", subscribe=[("engine/+/rpm", 0)]).open()
        self.away(node, "press-7", ("engine/#", 1), ("news", 0))
        self.away(node, "worker", ("$share/g/engine/1/rpm", 1))
        every = self.listed(node, "sub", "ls")["subscriptions"]
        self.assertEqual(["panel", "press-7", "press-7", "worker"], [one["client"] for one in every])
        mine = self.listed(node, "sub", "ls", "--client", "press-7")["subscriptions"]
        self.assertEqual(["engine/#", "news"], [one["filter"] for one in mine])
        hit = self.listed(node, "sub", "ls", "--topic", "engine/1/rpm")["subscriptions"]
        self.assertEqual([("panel", None), ("press-7", None), ("worker", "g")], [(one["client"], one["group"]) for one in hit])
        text = self.said(node, "sub", "ls", "--topic", "engine/1/rpm")
        self.assertIn("one of group g", text)
        self.assertIn("topic name", self.said(node, "sub", "ls", "--topic", "engine/#", code=2))
        self.assertIn("Nobody", self.said(node, "sub", "ls", "--topic", "nothing"))
        # The command that `sub` is without `ls` is what it was.
        self.assertIn("-t FILTER", self.said(node, "sub", code=2))
        publish(node.port, "r", "kept", "-r", qos=1)
        self.assertEqual("kept\n", self.said(node, "sub", "-t", "r", "-C", "1", "-W", "5 s"))

    def test_sub_takes_as_many_as_it_was_told(self):
        """Goal: with -C a kept session gives up what was printed and nothing else: none is sent in vain, so none comes marked
        as sent again."""
        node = self.hub()
        take = lambda qos, count: [
            json.loads(line)
            for line in self.said(
                node, "sub", "-t", f"q{qos}/#", "-q", str(qos), "-i", f"watch-{qos}", "-c", "--json", "-C", str(count), "-W", "5 s"
            ).splitlines()
        ]
        for qos in (1, 2):
            self.said(node, "sub", "-t", f"q{qos}/#", "-q", str(qos), "-i", f"watch-{qos}", "-c", "-W", "200 ms")
            sender = self.client(node.port, f"sender-{qos}").open()
            for number in range(200):
                sender.publish(f"q{qos}/x", str(number), qos=qos)
            got = []
            for count in (3, 1, 100, 96):
                got += take(qos, count)
            self.assertEqual([str(number) for number in range(200)], [message["payload"] for message in got])
            self.assertEqual([], [message for message in got if message["dup"]])

    def test_retained_messages_are_listed_and_removed(self):
        """Goal: in pages, by filter; gone for good when it answers. Method: a kill right behind the answer."""
        node = self.hub()
        sender = self.client(node.port, "sender").open()
        for number in range(250):
            sender.publish(f"r/{number:03}", b"x" * (number + 1), qos=1, retain=True)
        publish(node.port, "state", "running", "-r", qos=1)
        rows, count = pages(node, "retained", command="retained", count=100)
        self.assertEqual(251, len(rows))
        self.assertEqual(3, count)
        self.assertEqual(sorted(row["topic"] for row in rows), [row["topic"] for row in rows])
        self.assertEqual([("state", 7, 1)], [(r["topic"], r["payload_bytes"], r["qos"]) for r in self.listed(node, "retained", "ls", "state")["retained"]])
        self.assertIn("250 retained messages (", self.said(node, "retained", "rm", "r/#", code=2))
        self.assertEqual("250 retained messages removed.\n", self.said(node, "retained", "rm", "r/#", "--yes"))
        node.kill()
        node.start()
        self.assertEqual(["state"], [row["topic"] for row in self.listed(node, "retained", "ls")["retained"]])
        self.assertIn("no retained message", self.said(node, "retained", "rm", "r/1", code=1))
        self.assertIn("no retained message", self.said(node, "retained", "rm", "r/1", "--yes", code=1))
        self.assertIn("topic filter", self.said(node, "retained", "ls", "a/#/b", code=2))
        self.said(node, "node", "add", "bad name", code=2)
        self.said(node, "node", "add", "x", "--prefix", "y", code=2)
        listener = self.listener(node.port, "#")
        listener.messages(1)
        time.sleep(0.2)
        self.assertEqual(["state"], [line[0] for line in listener.lines])

    def test_why_a_queue_does_not_drain(self):
        """Goal: one sentence for each reason, and it is the right one."""
        hub = self.hub()
        site = self.site(hub, down=["down/#"]).start()
        self.wait_online(site)
        why = lambda node, name: self.said(node, "queue", "why", name)
        self.away(site, "press-7", ("engine/#", 1))
        self.away(site, "worker", ("$share/g/jobs/#", 1))
        publish(site.port, "engine/1/rpm", "1", qos=1)
        publish(site.port, "jobs/1", "1", qos=1)
        wait_for("the parent to have it", lambda: "Nothing is owed to the parent" in why(site, "parent"), 10)
        self.assertRegex(why(site, "press-7"), r"^press-7 is owed 1 message \(\d+ B\).*: it has been away since \S+Z \(\d+ s\)\.\n$")
        self.assertIn("its only member is not connected", why(site, "g/jobs/#"))
        self.assertEqual(why(site, "g/jobs/#")[:20], why(site, "$share/g/jobs/#")[:20])
        self.assertIn("queue ls", self.said(site, "queue", "why", "nobody", code=1))
        queues = {queue["name"]: queue for queue in self.listed(site, "queue", "ls")["queues"]}
        self.assertEqual({"press-7": ("session", "client"), "g/jobs/#": ("group", "client")}, {name: (q["kind"], q["waits_for"]) for name, q in queues.items()})

        site.stop()
        publish(hub.port, "down/1", "for the site", qos=1)
        self.assertRegex(why(hub, "site"), r"^The node site is owed 1 message .*: it is away, last seen \d+ .* ago\.")
        site.start()
        self.wait_online(site)
        hub.kill()
        self.wait_state(site, "offline")
        publish(site.port, "engine/1/rpm", "2", qos=1)
        wait_for("an attempt to dial", lambda: re.search(r"the link is down: connection refused, next attempt (at once|in \d+ s)\.", why(site, "parent")), 10)
        self.assertEqual("parent", self.listed(site, "queue", "ls")["queues"][0]["kind"])

    def test_what_waits_for_an_upstream_that_was_taken_out(self):
        """Goal: it is shown, goes on when the upstream is back, and can be given up, for good."""
        hub = self.hub()
        site = self.site(hub).start()
        path = site.directory / "holdfast.toml"
        with_upstream = path.read_text()
        without = with_upstream[: with_upstream.index("\n[upstream]")]

        def restart(configuration):
            site.stop()
            path.write_text(configuration)
            site.start()

        self.wait_online(site)
        hub.kill()
        self.wait_state(site, "offline")
        for number in range(3):
            publish(site.port, "t", f"{number}", qos=1)
        self.assertIn("take [upstream] out", self.said(site, "queue", "rm", "parent", "--yes", code=1))
        restart(without)
        wait_for("the log to say so", lambda: "HF-LINK-015 3 messages wait for an upstream" in site.log_tail(50), 5)
        self.assertIn("3 messages (6 B) wait for the upstream that was set before", self.said(site, "status"))
        queues = self.listed(site, "queue", "ls")["queues"]
        self.assertEqual([("parent", "upstream", 3)], [(q["name"], q["waits_for"], q["owed_count"]) for q in queues])
        self.assertRegex(self.said(site, "queue", "ls"), r"(?m)^parent +parent +3 .* no upstream is set$")
        self.assertIn("The parent is owed 3 messages", self.said(site, "queue", "why", "parent"))
        self.assertIn("--yes", self.said(site, "queue", "rm", "parent", code=2))
        self.assertIn("client kick", self.said(site, "queue", "rm", "press-7", "--yes", code=2))

        hub.start()
        restart(with_upstream)
        wait_for("what waited to arrive", lambda: "Nothing is owed to the parent" in self.said(site, "queue", "why", "parent"), 10)
        hub.stop()
        publish(site.port, "t", "lost", qos=1)
        restart(without)
        self.assertRegex(self.said(site, "queue", "rm", "parent", "--yes"), r"^1 message \(\d+ B\) given up\.\n$")
        for _ in range(2):
            self.assertIn("Standalone: no upstream is set.", self.said(site, "status"))
            self.assertEqual([], self.listed(site, "queue", "ls")["queues"])
            self.said(site, "queue", "rm", "parent", "--yes", code=1)
            site.kill()
            site.start()
        hub.start()
        at_hub = self.listener(hub.port, "t", qos=1)
        restart(with_upstream)
        publish(site.port, "t", "new", qos=1)
        self.assertEqual([b"new"], [line[3] for line in at_hub.messages(1)])
        self.wait_state(site, "online")
        self.assertEqual([b"new"], [line[3] for line in at_hub.messages(1)])

    def test_a_window_that_is_full(self):
        """Goal: it says how full, and that nothing is acknowledged. Method: a client that reads and says nothing."""
        node = self.hub()
        with self.raw(node, b"silent") as silent:
            silent.sendall(b"\x82\x07\x00\x01\x00\x00\x01t\x01")
            wait_for("the subscription", lambda: ask(node, command="client", name="silent").get("client", {}).get("subscription_count"), 5)
            for number in range(8):
                publish(node.port, "t", f"{number}", qos=1)
            said = self.said(node, "queue", "why", "silent")
            self.assertIn("silent is owed 8 messages", said)
            self.assertIn("window full: 5 of 5 in flight, the client ", said)
            shown = ask(node, command="client", name="silent")["client"]
            self.assertEqual((5, 5, None), (shown["inflight"], shown["window"], shown["acknowledged_s"]))
        wait_for("it to be away", lambda: "it has been away since" in self.said(node, "queue", "why", "silent"), 5)

    def test_records_are_exported(self):
        """Goal: CSV that others read and JSON lines, by time and topic; bytes that are no text come whole."""
        node = self.node("node", extra='\n[[route]]\nfilter = "t/#"\nstream = "kept"\n').start()
        sender = self.client(node.port, "sender").open()
        payloads = [b'say "x", then\r\nend', "größe".encode(), b"\xff\x00\xfe", b"", b"=1+1"]
        for number, payload in enumerate(payloads):
            sender.publish(f"t/{number}", payload, qos=1)
        out = self.said(node, "stream", "export", "kept", "--format", "csv")
        done = subprocess.run([HOLDFAST, "stream", "export", "kept", "--format", "csv", "--data", node.directory], capture_output=True, check=True)
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode(), newline="")))
        self.assertTrue(all(line.endswith(b"\r\n") for line in done.stdout.splitlines(keepends=True)[-2:]), out)
        read = [base64.b64decode(row["payload"]) if row["encoding"] == "base64" else row["payload"].encode() for row in rows]
        self.assertEqual(payloads, read)
        lines = [json.loads(line) for line in self.said(node, "stream", "export", "kept").splitlines()]
        self.assertEqual([f"t/{number}" for number in range(len(payloads))], [line["topic"] for line in lines])
        self.assertEqual(base64.b64encode(payloads[2]).decode(), lines[2]["payload_base64"])
        some = self.said(node, "stream", "export", "kept", "--since", lines[1]["arrived"], "--until", lines[3]["arrived"], "--topic", "t/+")
        self.assertEqual(["t/1", "t/2"], [json.loads(line)["topic"] for line in some.splitlines()])
        self.assertEqual("", self.said(node, "stream", "export", "kept", "--since", "2126-01-01"))
        self.assertEqual(len(lines), len(self.said(node, "stream", "export", "kept", "--since", "1 h").splitlines()))
        self.assertIn("--since", self.said(node, "stream", "export", "kept", "--since", "yesterday", code=2))
        self.assertIn("stream ls", self.said(node, "stream", "export", "kepd", code=1))
        self.assertIn("topic filter", self.said(node, "stream", "export", "kept", "--topic", "a/#/b", code=2))

    def test_a_long_export_costs_no_memory_and_holds_nobody_up(self):
        """Goal: neither side grows with the backlog, the stream's end is where it was when the export began, and clients are served
        meanwhile. Method: 60,000 records, much more than the caches of a small quota hold; a client pings through it all."""
        count = 60_000
        node = self.node("node", extra='\n[[route]]\nfilter = "t/#"\nstream = "kept"\n').start()
        sender = self.client(node.port, "sender", window=512).open()
        sender.publish_all((("t/x", f"{number} {'.' * 500}", 1) for number in range(count)), seconds=120)
        node.stop()
        node.start()
        before = most_memory(node.process.pid)
        pinger = self.client(node.port, "pinger").open()
        export = subprocess.Popen(
            [HOLDFAST, "stream", "export", "kept", "--data", node.directory], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        self.keep(lambda: (export.kill(), export.wait(), export.stdout.close()))
        lines, last, slowest, most = 0, -1, 0.0, 0
        began = time.monotonic()
        for line in export.stdout:
            lines += 1
            if lines % 5000 == 0:
                at = time.monotonic()
                pinger.publish("other", b"x", qos=1)
                slowest = max(slowest, time.monotonic() - at)
                most = most_memory(export.pid) or most
                pinger.publish("t/late", b"late", qos=1)
            number = int(json.loads(line)["payload"].split(" ")[0])
            self.assertEqual(last + 1, number)
            last = number
        took = time.monotonic() - began
        self.assertEqual(0, export.wait(10))
        self.assertEqual(count, lines, "what came after the export began is not in it")
        self.assertTrue(most)
        self.assertLess(most, 64 << 10, "KiB of the exporting program")
        self.assertLess(most_memory(node.process.pid) - before, 96 << 10, "KiB that the node grew by: its caches, not the backlog")
        self.assertLess(slowest, 1.0)
        self.note = f"{count / took:,.0f} records a second, program {most >> 10} MiB, a publish took at most {slowest * 1000:.0f} ms"

    def test_many_sessions_come_in_pages(self):
        """Goal: thousands of sessions are whole and in order, no page is large, and what asks for many gets few."""
        node = self.hub()
        count = 3000
        for start in range(0, count, 50):
            sockets = []
            for number in range(start, start + 50):
                connection = socket.create_connection(("127.0.0.1", node.port))
                name = f"c-{number:05}".encode()
                body = b"\x00\x04MQTT\x04\x00\x00\x3c\x00" + bytes([len(name)]) + name
                connection.sendall(bytes([0x10, len(body)]) + body)
                sockets.append(connection)
            for connection in sockets:
                connection.settimeout(10)
                self.assertEqual(b"\x20\x02\x00\x00", connection.recv(4))
                connection.close()
        rows, answers = pages(node, "clients", command="clients", count=10**9)
        self.assertEqual([f"c-{number:05}" for number in range(count)], [row["client"] for row in rows])
        self.assertGreaterEqual(answers, 3)
        began = time.monotonic()
        self.assertEqual(count, len(self.listed(node, "client", "ls")["clients"]))
        self.assertEqual(count + 1, len(self.said(node, "client", "ls").splitlines()))
        self.note = f"{count} sessions listed twice in {time.monotonic() - began:.1f} s"
        self.assertEqual("invalid", ask(node, command="clients", cursor="?")["code"])
        self.assertEqual("invalid", ask(node, command="export", stream="x", cursor=7)["code"])

    def test_names_of_strangers_do_nothing_to_a_terminal(self):
        """Goal: no control character from a client identifier, topic or payload reaches a terminal, in any command."""
        node = self.node("node", extra='\n[[route]]\nfilter = "#"\nstream = "kept"\n').start()
        self.away(node, HOSTILE, (f"{HOSTILE}/#", 1))
        sender = self.client(node.port, HOSTILE + "2").open()
        sender.publish(f"{HOSTILE}/1", HOSTILE.encode(), qos=1, retain=True)
        where = ["--data", node.directory]
        for words in (
            ["client", "ls"], ["client", "show", HOSTILE], ["client", "show", "no" + HOSTILE], ["client", "ls", "-o", "json"],
            ["sub", "ls"], ["sub", "ls", "--topic", f"{HOSTILE}/1"], ["retained", "ls"], ["retained", "rm", "no" + HOSTILE],
            ["queue", "ls"], ["queue", "why", HOSTILE], ["queue", "why", "no" + HOSTILE], ["queue", "ls", "-o", "json"],
            ["stream", "tail", "kept"], ["stream", "tail", "kept", "-o", "json"], ["stream", "export", "kept"],
            ["stream", "export", "kept", "--format", "csv"], ["sub", "-t", f"{HOSTILE}/#", "-C", "1", "-v"],
            ["sub", "-t", f"{HOSTILE}/#", "-C", "1", "--json"], ["client", "kick", HOSTILE, "--forget", "--yes"],
        ):  # fmt: skip
            with self.subTest(words):
                _, out = self.at_terminal(*words, *where)
                self.assertNotEqual("", out)
                self.assertIsNone(CONTROL.search(out.replace("\r\n", "\n")), repr(out))

    def test_sub_gives_other_programs_the_bytes_as_they_are(self):
        node = self.node("node").start()
        sender = self.client(node.port, "sender").open()
        payload = HOSTILE.encode() + b"\xff\x00\x7f"
        sender.publish("raw/1", payload, qos=1, retain=True)
        where = ["--data", str(node.directory)]
        done = subprocess.run([HOLDFAST, "sub", "-t", "raw/1", "-C", "1", *where], capture_output=True, check=True, timeout=20)
        self.assertEqual(payload + b"\n", done.stdout)

    def test_json_is_asked_for_the_same_way_everywhere(self):
        node = self.node("node", extra='\n[[route]]\nfilter = "#"\nstream = "kept"\n').start()
        self.said(node, "pub", "-t", "a", "-m", "x\u009by", "-r")
        old = self.said(node, "sub", "-t", "a", "-C", "1", "--json")
        new = self.said(node, "sub", "-t", "a", "-C", "1", "-o", "json")
        self.assertEqual(json.loads(old)["payload"], json.loads(new)["payload"])
        self.assertIn("u009b", new)
        for form in ("csv", "json"):
            old, new = (self.said(node, "stream", "export", "kept", option, form) for option in ("--format", "-o"))
            self.assertEqual(old, new)
        self.said(node, "sub", "-t", "a", "-o", "xml", code=2)

    def test_the_configuration_in_effect(self):
        node = self.node("node", extra="\n[mqtt]\nreceive_maximum = 7\n").start()
        values = {one["key"]: (one["value"], one["from"]) for one in self.listed(node, "config", "get")["values"]}
        self.assertEqual((7, "file"), values["mqtt.receive_maximum"])
        self.assertEqual(("1 MiB", "default"), values["mqtt.max_packet"])
        path = node.directory / "holdfast.toml"
        path.write_text(path.read_text().replace("receive_maximum = 7", "receive_maximum = 8"))
        self.assertRegex(self.said(node, "config", "get", "mqtt.receive_maximum"), r"mqtt.receive_maximum +7 +file")
        self.assertIn("did you mean `quota`", self.said(node, "config", "get", "qouta", code=1))
        node.stop()
        done = node.command("config", "get", "mqtt.receive_maximum")
        self.assertRegex(done.stdout, r"mqtt.receive_maximum +8 +file")
        self.assertIn("does not run", done.stderr)
        path.write_text("nonsense = 1\n")
        self.assertIn("holdfast.toml:1", self.said(node, "config", "get", code=78))

    def test_help_of_each(self):
        node = self.node("node")
        for words in (
            "client", "client ls", "client show", "client kick", "sub ls", "retained ls", "retained rm", "queue", "queue ls",
            "queue why", "queue rm", "stream export", "config get",
        ):  # fmt: skip
            done = subprocess.run([HOLDFAST, *words.split(), "--help"], capture_output=True, text=True, check=True)
            self.assertIn("Example", done.stdout, words)
        for words in ("client ls", "stream export x"):  # It waits two seconds for one that is just starting.
            self.assertIn("holdfast run", self.said(node, *words.split(), code=3))
