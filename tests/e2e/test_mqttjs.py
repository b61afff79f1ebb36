"""MQTT.js, the client library of those who write apps in JavaScript, through every door and over every kind of break."""

import json
import os
import pathlib
import subprocess
import time
import unittest

import mqttjs
from harness import LOOPBACK, Case, free_port, wait_for
from processes import HOLDFAST

VERSIONS = {"3.1.1": 4, "5": 5}


def numbers(messages):
    return [int(message.payload.split(b" ")[0]) for message in messages]


class Lock(unittest.TestCase):
    def test_the_lock_file_has_hashes_and_names_no_registry(self):
        """Goal: what npm installs is what was locked, from wherever it comes."""
        packages = json.loads((pathlib.Path(__file__).parent / "js" / "package-lock.json").read_text())["packages"]
        for name, package in packages.items():
            if name:
                self.assertIn("integrity", package, name)
                self.assertNotIn("resolved", package, name)


class MqttJs(Case):
    def setUp(self):
        why = mqttjs.unavailable()
        if why:
            raise unittest.SkipTest(why)
        self.js = mqttjs.MqttJs()
        self.keep(self.js.close)

    def connect(self, name, url, times=1, **options):
        client = self.js.client(name, url, **{"reconnectPeriod": 200, **options})
        client.connected(times)
        return client

    def url(self, node):
        return f"mqtt://{LOOPBACK}:{node.port}"

    def round_trip(self, name, url, **options):
        """Every QoS there and back."""
        client = self.connect(name, url, **options)
        client.subscribe([f"{name}/#"], qos=2)
        for qos in (0, 1, 2):
            client.publish(f"{name}/{qos}", f"{qos} hello", qos=qos)
        got = client.wait(3)
        self.assertEqual([(f"{name}/{q}", f"{q} hello".encode(), q, False) for q in (0, 1, 2)],
                         [(m.topic, m.payload, m.qos, m.retain) for m in got])  # fmt: skip
        return client

    def test_every_door_and_both_versions(self):
        """Goal: tcp, ws and wss with a certificate of one's own, 3.1.1 and 5: QoS 0, 1 and 2 both ways, and a message of
        1 MB less a little, which is what the node takes unless told otherwise."""
        openssl = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.directory)
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
            *("-subj", "/CN=hub.example", "-addext", f"subjectAltName=DNS:hub.example,IP:{LOOPBACK}"),
            *("-keyout", "hub.key", "-out", "hub.pem"),
        )
        os.chmod(self.directory / "hub.key", 0o600)
        ports = {"ws": free_port(), "wss": free_port(), "mqtts": free_port()}
        extra = ""
        for scheme, port in ports.items():
            extra += f'\n[[listener]]\naddress = "{LOOPBACK}:{port}"\n'
            extra += 'protocol = "websocket"\n' if scheme != "mqtts" else ""
            extra += 'certificate = "../hub.pem"\nkey = "../hub.key"\n' if scheme != "ws" else ""
        node = self.node("node", extra=extra).start()
        urls = [self.url(node), *(f"{scheme}://{LOOPBACK}:{port}/mqtt" for scheme, port in ports.items())]
        big = os.urandom(1024 * 1024 - 1000)
        for url in urls:
            for version, level in VERSIONS.items():
                scheme = url.split(":")[0]
                with self.subTest(scheme=scheme, version=version):
                    client = self.round_trip(
                        f"{scheme}-{level}", url, protocolVersion=level, ca_file=str(self.directory / "hub.pem")
                    )
                    client.publish(f"{scheme}-{level}/big", big, qos=2, seconds=20)
                    self.assertEqual(big, client.wait(4, 20)[3].payload)
                    client.end()

    def test_a_session_over_reconnects_and_kills(self):
        """Goal: what was acknowledged arrives, at QoS 2 once and in order, over connections that break and a broker that is
        killed. Method: two persistent sessions, 600 messages, six breaks of either side, two kills."""
        for version, level in VERSIONS.items():
            with self.subTest(version=version):
                self.session_over_kills(level)

    def session_over_kills(self, level):
        node = self.node(f"node-{level}").start()
        kept = {"protocolVersion": level, "clean": False}
        if level == 5:
            kept["properties"] = {"sessionExpiryInterval": 3600}
        listener = self.connect(f"listener-{level}", self.url(node), **kept)
        listener.subscribe(["t/#"], qos=2)
        sender = self.connect(f"sender-{level}", self.url(node), **kept)
        requests = []
        for number in range(600):
            requests.append((number, self.begin(sender, number, number % 3)))
            if number % 100 == 50:
                client = sender if number % 200 == 50 else listener
                wait_for("the client to be back", client.online)
                client.drop()
            if number in (199, 399):
                wait_for("some acknowledgements", lambda: self.js.done(requests[-60][1]), 20)
                node.kill()
                node.start()
            time.sleep(0.001)
        wanted = set()
        for number, request in requests:
            try:
                self.js.finish(request, 30)
                wanted.add(number)
            except mqttjs.JsError as error:
                # MQTT.js gives up by itself what it was given between a CONNACK and the end of its sending again, if the
                # connection ends in that moment; it says so to its user, who publishes again.
                self.assertEqual("Connection closed", str(error), f"message {number}")
        wanted = {number for number in wanted if number % 3 != 0}
        self.assertGreater(len(wanted), 350)
        wait_for("what was acknowledged", lambda: wanted <= set(numbers(listener.messages)), 30)
        time.sleep(0.3)
        got = numbers(listener.messages)
        twice = [number for number in got if number % 3 == 2]
        self.assertEqual(sorted(twice), twice)
        self.assertEqual(len(set(twice)), len(twice))
        first = [number for number in dict.fromkeys(got) if number % 3 == 1]
        self.assertEqual(sorted(first), first)
        self.assertTrue(listener.connected()["session"])
        for client in (listener, sender):
            self.assertGreaterEqual(client.count("connect"), 4)
        for client in (sender, listener):
            client.end()
        node.stop()

    def begin(self, client, number, qos):
        return client.begin_publish(f"t/{qos}", f"{number} {'.' * 200}", qos=qos)

    def test_a_session_gets_what_came_while_it_was_away(self):
        """Goal: `clean: false` means what it says: after the end of a client and another start, in order, once."""
        node = self.node("node").start()
        for version, level in VERSIONS.items():
            with self.subTest(version=version):
                kept = {"protocolVersion": level, "clean": False}
                if level == 5:
                    kept["properties"] = {"sessionExpiryInterval": 3600}
                away = self.connect(f"away-{level}", self.url(node), **kept)
                self.assertFalse(away.connected()["session"])
                away.subscribe([f"news-{level}/#"], qos=1)
                away.end()
                sender = self.connect(f"sender-{level}", self.url(node), protocolVersion=level)
                for number in range(50):
                    sender.publish(f"news-{level}/x", str(number), qos=1)
                back = self.connect(f"away-{level}", self.url(node), **kept)
                self.assertTrue(back.connected()["session"])
                self.assertEqual(list(range(50)), numbers(back.wait(50)))

    def test_wills_and_retained_messages(self):
        """Goal: a will comes when a connection ends without a goodbye and not otherwise; retained messages come marked to
        who subscribes later, and go when an empty one comes."""
        node = self.node("node").start()
        for version, level in VERSIONS.items():
            with self.subTest(version=version):
                base = f"wr-{level}"
                options = {"protocolVersion": level}
                watcher = self.connect(f"watcher-{level}", self.url(node), **options)
                watcher.subscribe([f"{base}/#"], qos=1)
                will = {"topic": f"{base}/gone", "payload": "gone", "qos": 1, "retain": True}
                for name in ("polite", "lost"):
                    client = self.connect(
                        f"{name}-{level}", self.url(node), will={**will, "topic": f"{base}/{name}"}, **options
                    )
                    client.publish(f"{base}/state-{name}", "on", qos=1, retain=True)
                    client.end() if name == "polite" else client.drop()
                got = watcher.wait(3)
                self.assertEqual({f"{base}/state-polite", f"{base}/state-lost", f"{base}/lost"}, {m.topic for m in got})
                late = self.connect(f"late-{level}", self.url(node), **options)
                late.subscribe([f"{base}/#"], qos=1)
                self.assertEqual(3, len(late.wait(3)))
                self.assertTrue(all(message.retain for message in late.messages))
                late.publish(f"{base}/lost", "", qos=1, retain=True)
                later = self.connect(f"later-{level}", self.url(node), **options)
                later.subscribe([f"{base}/#"], qos=1)
                later.wait(2)
                time.sleep(0.2)
                self.assertEqual(2, len(later.messages))

    def test_what_is_new_in_version_5(self):
        """Goal: shared subscriptions, topic aliases both ways, user properties, response topics, reasons, and the limits that
        CONNACK says."""
        node = self.node("node").start()
        options = {"protocolVersion": 5}
        workers = [self.connect(f"worker-{i}", self.url(node), **options) for i in range(2)]
        for worker in workers:
            worker.subscribe(["$share/crew/jobs/#"], qos=1)
        sender = self.connect(
            "sender", self.url(node), autoUseTopicAlias=True, autoAssignTopicAlias=True,
            properties={"topicAliasMaximum": 10, "requestResponseInformation": True}, **options,
        )  # fmt: skip
        said = sender.connected()["properties"]
        self.assertEqual("response/sender", said["responseInformation"])
        self.assertGreater(said["topicAliasMaximum"], 0)
        sender.subscribe(["response/sender/#"], qos=1)
        for number in range(40):
            sender.publish(
                "jobs/paint", str(number), qos=1,
                properties={
                    "responseTopic": "response/sender/paint",
                    "correlationData": "AQID",
                    "userProperties": {"colour": "red"},
                },
            )  # fmt: skip
        wait_for("all jobs", lambda: sum(len(worker.messages) for worker in workers) >= 40)
        shares = [numbers(worker.messages) for worker in workers]
        self.assertEqual(list(range(40)), sorted(shares[0] + shares[1]))
        self.assertTrue(all(shares))
        first = workers[0].messages[0]
        self.assertEqual(("jobs/paint", "response/sender/paint"), (first.topic, first.properties["responseTopic"]))
        self.assertEqual("red", first.properties["userProperties"]["colour"])
        for number in range(5):
            workers[0].publish("response/sender/paint", str(number), qos=1)
        self.assertEqual(["response/sender/paint"] * 5, [m.topic for m in sender.wait(5)])
        self.assertEqual([0, 1, 2, 3, 4], numbers(sender.messages))

    def test_names_passwords_and_permissions(self):
        """Goal: a right password gets in, a wrong one is told so, and the client that tries again by itself gets in once the
        password is right; what may not be published fails in the callback, and the connection goes on."""
        node = self.node("node")
        path = node.directory / "holdfast.toml"
        path.write_text("anonymous = false\n" + path.read_text())
        self.user(node, "add", "ann", "annes secret")
        (node.directory / "permissions.toml").write_text(
            '[[permission]]\nuser = "ann"\npublish = ["ok/#"]\nsubscribe = ["ok/#"]\n'
        )
        node.start()
        for version, level in VERSIONS.items():
            with self.subTest(version=version):
                options = {"protocolVersion": level, "username": "ann"}
                client = self.connect(f"ann-{level}", self.url(node), password="annes secret", **options)
                client.subscribe([f"ok/{level}"], qos=1)
                client.publish(f"ok/{level}", "1", qos=1)
                client.wait(1)
                if level == 5:
                    with self.assertRaises(mqttjs.JsError) as caught:
                        client.publish("secret/x", "1", qos=1)
                    self.assertEqual(0x87, caught.exception.code)
                    with self.assertRaises(mqttjs.JsError):
                        client.subscribe(["secret/#"], qos=1)
                client.publish(f"ok/{level}", "2", qos=1)
                client.wait(2)
                self.assertEqual(1, client.count("connect"))

                wrong = self.js.client(
                    f"wrong-{level}", self.url(node), password="not hers", reconnectPeriod=200, **options
                )
                wait_for("a refusal", lambda: wrong.count("error") > 0, 10)
                error = [said for event, said in wrong.events if event == "error"][0]
                self.assertEqual(0x86 if level == 5 else 4, error["code"])
                self.assertEqual(0, wrong.count("connect"))
                wrong.end(force=True)

    def user(self, node, verb, name, password):
        subprocess.run(
            [str(HOLDFAST), "user", verb, name, "--data", str(node.directory)],
            input=password + "\n", text=True, check=True, capture_output=True, timeout=20,
        )  # fmt: skip

    def test_it_comes_back_when_the_node_does(self):
        """Goal: a client that finds nobody tries again by itself, and what it was given meanwhile is sent then."""
        node = self.node("node")
        client = self.js.client("early", self.url(node), reconnectPeriod=200)
        waiting = client.begin_publish("t/x", "0 early", qos=1)
        wait_for("a refused connection", lambda: client.count("close") >= 2, 10)
        self.assertFalse(self.js.done(waiting))
        node.start()
        client.connected()
        self.js.finish(waiting)
        node.stop()
        wait_for("the end", lambda: client.count("offline") >= 2, 10)
        node.start()
        client.connected(2)
        client.publish("t/x", "1 again", qos=2)
