"""Who runs it: what it says in each state, and what it says when something is set up wrong."""

import hashlib
import json
import os
import re
import socket

from harness import LOOPBACK, Case, command, hub_nodes, publish, wait_for


def contents(directory):
    """File -> digest, for everything below."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


class Operator(Case):
    def refused(self, node, *words, code=78):
        """Runs `holdfast run` on a setup that is wrong: it ends at once with that code, and says these words."""
        done = command("run", "--data", node.directory, seconds=20)
        self.assertEqual(code, done.returncode, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertNotIn("terminate called", done.stderr)
        return done.stderr

    def test_status_in_each_state(self):
        """Goal: one sentence and one state for each, as text and as JSON, with the right exit code."""
        hub = self.hub()
        said = hub.status()
        self.assertEqual(("standalone", False), (said["state"], said["needs_a_hand"]))
        self.assertIn("Standalone", said["sentence"])
        site = self.site(hub)
        said = hub.status()
        self.assertEqual("hub", said["state"])
        self.assertIn("1 node registered, 0 connected", said["sentence"])
        site.start()
        said = self.wait_state(site, "online")
        self.assertIn("All messages delivered upstream", said["sentence"])
        self.assertTrue(said["link"]["up"])
        wait_for("the hub to see it", lambda: hub.status()["nodes"]["connected"] == 1, 5)
        publish(site.port, "site/x", "x", qos=1)
        wait_for("the receipt", lambda: site.status()["link"]["backlog_count"] == 0, 5)
        hub.kill()
        said = self.wait_state(site, "offline")
        publish(site.port, "site/x", "y", qos=1)
        text = site.command("status")
        self.assertEqual(0, text.returncode, "being offline is what it is made for")
        self.assertRegex(text.stdout, r"^Offline \d+ s\. 1 message \(\d+ B\) safe, oldest \d+ s\.")
        wait_for("an attempt to dial", lambda: "refused" in site.status()["link"]["last_error"], 10)
        site.stop()
        gone = site.command("status")
        self.assertEqual(3, gone.returncode)
        self.assertIn("holdfast run", gone.stderr)

    def test_a_port_that_is_taken(self):
        node = self.node("node")
        with socket.create_server((LOOPBACK, node.port)):
            self.refused(node, f"{LOOPBACK}:{node.port}", "in use")
        node.start()

    def test_a_directory_that_is_in_use(self):
        node = self.hub()
        said = self.refused(node, "is in use by process", str(node.process.pid))
        self.assertIn(str(node.directory), said)
        publish(node.port, "x", "x", qos=2)

    def test_a_directory_that_is_none(self):
        self.assertEqual(78, command("run", "--data", self.directory / "nowhere").returncode)
        (self.directory / "empty").mkdir()
        done = command("run", "--data", self.directory / "empty")
        self.assertEqual(78, done.returncode)
        self.assertIn("holdfast init", done.stderr)
        node = self.node("node")
        done = command("init", node.directory)
        self.assertEqual(78, done.returncode)
        self.assertIn("already", done.stderr)

    def test_mistakes_in_the_configuration(self):
        """Goal: file, line, what is wrong, and the nearest name; all mistakes at once; nothing is started."""
        node = self.node("node")
        path = node.directory / "holdfast.toml"
        good = path.read_text()
        lines = good.count("\n")
        path.write_text(good + '\n[upstraem]\nhost = "127.0.0.1"\n\n[mqtt]\nsesion_expiry = "1 d"\nreceive_maximum = 0\n')
        said = self.refused(node, "unknown key `upstraem`; did you mean `upstream`?", "did you mean `mqtt.session_expiry`?")
        self.assertIn(f"{path}:{lines + 2}: ", said)
        self.assertIn(f"{path}:{lines + 6}: ", said)
        self.assertIn(f"{path}:{lines + 7}: ", said)
        for wrong, words in {
            'quota = "4 GB"\nquota = "5 GB"\n': "quota",
            'retention = "soon"\n': "a duration",
            'listen = ["0.0.0.0:1883"]\n': "insecure = true",
            "listen = [\n": ":1: ",
            'name = "a b"\n': "name",
        }.items():
            with self.subTest(wrong):
                path.write_text(wrong)
                self.refused(node, str(path), words)
        path.write_text(good)
        node.start()

    def test_a_wrong_key_locks_and_harms_nothing(self):
        """Goal: with another key the node stands by, says so, lets nobody in, and leaves every byte as it was."""
        node = self.hub()
        away = self.client(node.port, "away", subscribe=[("k/#", 1)]).open()
        away.abort()
        publish(node.port, "k/x", "precious", qos=1)
        node.stop()
        key = node.directory / "key"
        right = key.read_bytes()
        before = contents(node.directory / "store")
        os.chmod(key, 0o600)
        key.write_bytes(bytes(byte ^ 0xFF for byte in right))
        node.start(wait=False)
        said = self.wait_state(node, "locked")
        self.assertTrue(said["needs_a_hand"])
        self.assertIn("is not the key of", said["sentence"])
        text = node.command("status")
        self.assertEqual(4, text.returncode)
        self.assertTrue(text.stdout.startswith("Locked: "), text.stdout)
        with self.assertRaises(OSError):
            self.client(node.port, "anybody").open(5)
        for words in (["stream", "ls"], ["client", "ls"], ["node", "add", "x"], ["pub", "-t", "x", "-m", "x"],
                      ["sub", "-t", "x"]):  # fmt: skip
            done = node.command(*words)
            self.assertEqual(4, done.returncode, words)
            self.assertIn("is not the key of", done.stderr)
        self.assertEqual(0, node.stop())
        self.assertEqual(before, contents(node.directory / "store"))
        key.write_bytes(right)
        node.start()
        away.open()
        away.wait_until("the message", lambda: away.messages)
        self.assertEqual(b"precious", away.messages[0].payload)

    def test_a_missing_key(self):
        node = self.node("node")
        (node.directory / "key").unlink()
        self.refused(node, "key", "nothing in the store can be read")

    def test_a_claim_is_good_once(self):
        """Goal: a claim registers one site. Method: a second site shows the same claim; a made-up one, too."""
        hub = self.hub()
        site = self.site(hub, "site").start()
        self.wait_online(site)
        thief = self.node("thief", claim=self.directory / "site.claim", upstream_port=hub.port).start()
        wait_for("the thief to be refused", lambda: thief.status()["link"]["last_error"], 10)
        wait_for("the thief to need a hand", lambda: thief.status()["needs_a_hand"], 10)
        self.assertIn("Refused upstream", thief.status()["sentence"])
        self.assertEqual("online", self.wait_state(site, "online")["state"])
        again = hub.command("node", "add", "site", "--claim", self.directory / "again.claim")
        self.assertEqual(1, again.returncode)
        forged = self.directory / "forged.claim"
        forged.write_text("nonsense")
        done = command("init", self.directory / "forged", "--claim", forged)
        self.assertNotEqual(0, done.returncode)
        self.assertFalse((self.directory / "forged").exists(), "a failed init leaves nothing behind")

    def test_a_site_that_dials_the_wrong_hub_keeps_its_claim(self):
        """Goal: a wrong port in [upstream] costs nothing. Method: the first dial reaches a node that lets anybody in and knows no
        site; then the right one."""
        hub, stranger = self.hub(), self.node("stranger").start()
        site = self.site(hub, port=stranger.port).start()
        wait_for("the stranger to refuse", lambda: site.status()["link"]["rejected"], 10)
        self.assertIn("does not know this node", site.status()["link"]["last_error"] + site.log_path.read_text())
        site.stop()
        path = site.directory / "holdfast.toml"
        path.write_text(path.read_text().replace(f"port = {stranger.port}", f"port = {hub.port}"))
        self.wait_online(site.start())

    def test_a_claim_can_be_had_again(self):
        """Goal: a site that its hub knows no more, or that has no claim, says so and can be helped while it runs; nothing that it
        kept is lost."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        self.assertEqual(0, hub.command("node", "rm", "site").returncode)
        wait_for("the site to need a hand", lambda: site.status()["needs_a_hand"], 10)
        publish(site.port, "site/x", "kept", qos=1)
        self.assertEqual(1, hub.command("node", "renew", "site").returncode)
        for number, verb in enumerate(("add", "renew")):
            claim = self.directory / f"{number}.claim"
            self.assertEqual(0, hub.command("node", verb, "site", "--claim", claim).returncode)
            done = site.command("claim", claim)
            self.assertEqual((0, ""), (done.returncode, done.stderr))
            self.wait_online(site)
        wait_for("what was kept at the hub", lambda: hub_nodes(hub)[0]["records_received"] == 1, 10)

        lonely = self.node("lonely", upstream_port=hub.port).start()
        self.assertTrue(lonely.status()["needs_a_hand"])
        self.assertIn("Not registered upstream", lonely.status()["sentence"])
        self.assertEqual(1, lonely.command("connect").returncode)
        self.assertIn("another name", lonely.command("claim", self.directory / "1.claim").stderr)
        claim = hub.claim_for("lonely", self.directory / "lonely.claim")
        self.assertEqual(0, lonely.command("claim", claim).returncode)
        self.wait_online(lonely)

    def test_what_a_node_keeps_can_be_seen(self):
        """Goal: stream ls, stream tail, node ls, store info and store verify tell of what was published."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        for number in range(20):
            publish(site.port, "site/x", f"{number} ✓", qos=1)
        wait_for(
            "20 messages at the hub",
            lambda: any(s["sequence_last"] == 20 for s in json.loads(hub.command("stream", "ls", "-o", "json").stdout)["streams"]),
            10,
        )
        tail = json.loads(site.command("stream", "tail", "telemetry", "-n", "30", "-o", "json").stdout)["records"]
        self.assertEqual([f"{number} ✓" for number in range(20)], [record["payload"] for record in tail])
        self.assertEqual(["site/x"] * 20, [record["topic"] for record in tail])
        newest = json.loads(site.command("stream", "tail", "telemetry", "-n", "3", "-o", "json").stdout)["records"]
        self.assertEqual(tail[-3:], newest)
        self.assertIn("telemetry", site.command("stream", "ls").stdout)
        wrong = site.command("stream", "tail", "telemetri")
        self.assertEqual(1, wrong.returncode)
        self.assertIn("stream ls", wrong.stderr)
        nodes = json.loads(hub.command("node", "ls", "-o", "json").stdout)["nodes"]
        self.assertEqual([("site", True, 20)], [(n["name"], n["connected"], n["records_received"]) for n in nodes])
        self.assertNotEqual(0, site.command("store", "verify").returncode, "a store that is in use")
        site.stop()
        verified = json.loads(site.command("store", "verify", "-o", "json").stdout)
        self.assertEqual((True, 20), (verified["ok"], verified["records"]))
        self.assertEqual(0, site.command("store", "info").returncode)

    def test_nothing_readable_is_on_the_disk(self):
        """Goal: topics, payloads and client identifiers do not stand in the files in clear."""
        node = self.hub()
        marks = [b"topic-0f3c9a", b"payload-77b1e2", b"client-5d20aa", b"retained-c41f"]
        client = self.client(node.port, marks[2].decode(), subscribe=[(marks[0].decode() + "/#", 1)]).open()
        client.abort()
        publish(node.port, marks[0].decode() + "/x", marks[1].decode(), qos=2)
        publish(node.port, "r", marks[3].decode(), "-r", qos=1)
        node.stop()
        for path in (node.directory / "store").iterdir():
            data = path.read_bytes()
            for mark in marks:
                self.assertNotIn(mark, data, path.name)

    def test_rot_is_set_aside_and_said(self):
        """Goal: a rotten block costs what stood in it and not the rest; verify says so. Method: a page in the middle of the
        largest segment is overwritten."""
        node = self.hub()
        away = self.client(node.port, "away", subscribe=[("k/#", 1)]).open()
        away.abort()
        sender = self.client(node.port, "sender").open()
        sender.publish_all(("k/x", f"{number} {'.' * 1500}", 1) for number in range(400))
        node.stop()
        self.assertEqual(0, node.command("store", "verify").returncode)
        segment = max((node.directory / "store").iterdir(), key=lambda path: len(path.read_bytes().rstrip(b"\0")))
        used = len(segment.read_bytes().rstrip(b"\0"))
        with open(segment, "r+b") as file:
            file.seek(used // 2 // 4096 * 4096)
            file.write(self.random.randbytes(4096))
        verified = node.command("store", "verify")
        self.assertEqual(4, verified.returncode, verified.stdout)
        node.start()
        away.open()
        away.wait_until("the last message", lambda: away.messages and away.messages[-1].payload.startswith(b"399 "), 20)
        numbers = [int(message.payload.split(b" ")[0]) for message in away.messages]
        self.assertEqual(sorted(set(numbers)), numbers)
        self.note = f"{400 - len(numbers)} of 400 messages lost with the page"

    def test_help_and_version(self):
        done = command("--version")
        self.assertEqual(0, done.returncode)
        self.assertRegex(done.stdout, r"^holdfast \d+\.\d+\.\d+")
        for words in (
            "init", "run", "status", "pub", "sub", "stream ls", "stream tail", "node add", "node ls", "connect", "store info",
            "store verify",
        ):  # fmt: skip
            done = command(*words.split(), "--help")
            self.assertEqual(0, done.returncode, words)
            self.assertTrue(re.search(r"Example|Usage", done.stdout), words)
        self.assertEqual(2, command("stauts").returncode)
        self.assertEqual(2, command("run", "--dta", "x").returncode)
        self.assertEqual(2, command().returncode)

    def test_paths_begin_at_the_configuration_file(self):
        """Goal: a key and a socket that are named without a directory lie beside the file, wherever one stands; what `run` would
        refuse, `config test` says before."""
        node = self.node("node")
        path = node.directory / "holdfast.toml"
        (node.directory / "key").rename(node.directory / "my.key")
        good = 'key = "my.key"\nadmin_socket = "my.sock"\n' + path.read_text()
        path.write_text(good)
        self.assertEqual(0, command("config", "test", path).returncode)
        node.start()
        self.assertEqual(0, node.command("status").returncode)
        self.assertTrue((node.directory / "my.sock").exists())
        node.stop()
        for wrong, said in (('\nkey = "none.key"\n', "cannot read"),
                            (f'key = "my.key"\nadmin_socket = "{"s" * 150}"\n', "at most 107")):  # fmt: skip
            path.write_text(wrong)
            done = command("config", "test", path)
            self.assertEqual(78, done.returncode)
            self.assertIn(f"{path}:2: ", done.stderr)
            self.assertIn(said, done.stderr)
            self.refused(node, said)

    def test_a_node_that_has_moved_says_where_to(self):
        node = self.node("node", extra='[mqtt]\nmoved_to = "hub-2.example:1883"\n').start()
        done = node.command("pub", "-t", "a", "-m", "x")
        self.assertEqual(1, done.returncode)
        self.assertIn("hub-2.example:1883", done.stderr)
        self.assertRegex(node.command("status").stdout, "moved to: +hub-2.example:1883")
        self.assertEqual("hub-2.example:1883", node.status()["moved_to"])
        done = node.command("node", "rm", "ship-7")
        self.assertEqual(1, done.returncode)
        self.assertIn("`ship-7`", done.stderr)

    def test_what_changes_something_answers_in_json_too(self):
        """Goal: a script that sets a site up reads objects: init, user, token, pub. A refusal stays an error."""
        directory = self.directory / "made"
        answer = lambda *words, **more: json.loads(command(*words, "-o", "json", **more).stdout)
        made = answer("init", directory, "--name", "press-hall")
        self.assertEqual(("press-hall", f"{directory}/key", False), (made["name"], made["key"], made["claim_taken"]))
        secret = self.directory / "secret"
        secret.write_text("a long password\n")
        words = ("--data", directory)
        added = answer("user", "add", "anna", "--scram", "--password-file", secret, *words)
        self.assertEqual({"name": "anna", "scram": True, "users": f"{directory}/users"}, added)
        self.assertEqual("anna", answer("user", "rm", "anna", *words)["name"])
        token = answer("token", "add", "prometheus", "--role", "read", *words)
        self.assertEqual(("prometheus", "read"), (token["name"], token["role"]))
        self.assertGreater(len(token["token"]), 40)
        self.assertEqual("prometheus", answer("token", "rm", "prometheus", *words)["name"])
        hub = self.hub()
        said = json.loads(hub.command("pub", "-t", "nobody/asked", "-m", "1", "-o", "json").stdout)
        self.assertEqual({"topic": "nobody/asked", "qos": 1, "sent": 1, "refused": 0, "unwanted": 1}, said)
        (hub.directory / "permissions.toml").write_text("")
        wait_for("the permissions", lambda: "HF-RUN-006" in hub.log_path.read_text())
        refused = hub.command("pub", "-t", "not/allowed", "-m", "1", "-o", "json")
        self.assertEqual((1, 1), (refused.returncode, json.loads(refused.stdout)["refused"]))
        self.assertIn("refused", refused.stderr)
