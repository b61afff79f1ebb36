"""HTTP: probes, metrics, the API and its tokens, and those who mean no good; while MQTT notices nothing."""

import concurrent.futures
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import stat
import struct
import subprocess

import mqtt
from harness import LOOPBACK, ROOT, Case, command, free_port, publish, wait_for

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}


def is_of(value, name):
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def mistakes(value, schema, where="the answer"):
    """What is wrong with a value, by JSON Schema as far as the document uses it; and every field that no schema names."""
    allowed = schema.get("type", list(TYPES))
    if not any(is_of(value, name) for name in ([allowed] if isinstance(allowed, str) else allowed)):
        yield f"{where} is {value!r}, and should be {allowed}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, and should be one of {schema['enum']}"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        yield f"{where} is {value!r}, and should be {schema['minimum']} at least"
    if isinstance(value, list):
        for each in value:
            yield from mistakes(each, schema.get("items", {}), where + "[]")
    if isinstance(value, dict) and "properties" in schema:
        for name in schema.get("required", []):
            if name not in value:
                yield f"{where} lacks {name}"
        for name, each in value.items():
            if name in schema["properties"]:
                yield from mistakes(each, schema["properties"][name], f"{where}.{name}")
            else:
                yield f"{where} has {name}, of which the document knows nothing"


planted_schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": ["integer", "null"]}}}}
assert not list(mistakes({"a": [1, None]}, planted_schema))
for planted in ({}, {"a": True}, {"a": 0}, {"a": 3}, {"a": 1.5}, {"a": None}, {"a": 1, "b": 1}, [], "x"):
    planted_schema = {"type": "object", "properties": {"a": {"type": "integer", "enum": [0, 1], "minimum": 1}}, "required": ["a"]}
    assert list(mistakes(planted, planted_schema)), planted


def operation_of(document, method, path):
    for pattern, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)), path.split("?")[0]) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"{method} {path} is not in the OpenAPI document")


OPENAPI = "/api/v1/openapi.json"


def exchange(own, method, path, body, headers):
    own.request(method, path, body=body, headers=headers)
    response = own.getresponse()
    return Answer(response.status, response.headers, response.read().decode())


def check_answer(own, method, path, token, answer):
    """That the document says of this answer what it is: its status, and all it holds."""
    document = exchange(own, "GET", OPENAPI, None, {"Authorization": f"Bearer {token}"}).json()
    response = operation_of(document, method, path)["responses"][str(answer.status)]
    schema = response["content"]["application/json"]["schema"]
    named = document["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    found = list(mistakes(answer.json(), named))
    assert not found, (method, path, found)


def ask(port, method, path, token=None, body=None, connection=None, headers=None):
    """One request with the library's client; checks what every answer has to hold."""
    own = connection or http.client.HTTPConnection(LOOPBACK, port, timeout=15)
    sent = dict(headers or {})
    if token:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None and "Content-Type" not in sent:
        sent["Content-Type"] = "application/json"
    answer = exchange(own, method, path, json.dumps(body) if isinstance(body, (dict, list)) else body, sent)
    if path.startswith("/api/v1/") and path != OPENAPI and method != "HEAD" and answer.status < 300:
        check_answer(own, method, path, token, answer)
    if connection is None:
        own.close()
    assert answer.headers["X-Content-Type-Options"] == "nosniff", answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Access-Control-Allow-Origin" not in answer.headers
    if answer.status >= 400 and method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json", answer.headers
        problem = answer.json()
        assert problem["status"] == answer.status and problem["detail"] and problem["code"], problem
    return answer


def raw(port, data, seconds=15, prefix=b""):
    """Everything the node sends until it closes."""
    with socket.create_connection((LOOPBACK, port), timeout=seconds) as peer:
        peer.sendall(prefix + data)
        out = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := peer.recv(65536):
                out += chunk
    return out


def parse_metrics(text):
    """{(name, labels): value}; raises on what Prometheus' text format does not allow."""
    samples, types, current = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if match := re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)", line):
            word, name, rest = match.groups()
            if word == "HELP":
                assert name not in types, f"{name} is there twice"
                current = name
            else:
                assert name == current and rest in ("counter", "gauge", "histogram"), line
                types[name] = rest
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert match, line
        name, labels, value = match.groups()
        pairs = tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or "")))
        assert ",".join(f'{k}="{v}"' for k, v in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or "")) == (labels or "")
        family = re.sub(r"_(bucket|sum|count)$", "", name) if types.get(current) == "histogram" else name
        assert family == current and current in types, line
        assert (name, pairs) not in samples, f"{line} is there twice"
        samples[name, pairs] = float(value)
    for name, kind in types.items():
        if kind != "histogram":
            continue
        buckets = [(float(dict(labels)["le"]), value) for (of, labels), value in samples.items() if of == f"{name}_bucket"]
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), name
        assert all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:])), name
        assert buckets[-1][1] == samples[f"{name}_count", ()]
    return samples


class HttpTest(Case):
    def http_node(self, extra="", listener="", start=True, name="node"):
        self.http = free_port()
        listener = f'\n[[listener]]\naddress = "{LOOPBACK}:{self.http}"\nprotocol = "http"\n{listener}\n'
        node = self.node(name, extra=listener)
        path = node.directory / "holdfast.toml"
        path.write_text(extra + "\n" + path.read_text())
        return node.start() if start else node

    def token(self, node, name, role):
        done = node.command("token", "add", name, "--role", role)
        self.assertEqual(done.returncode, 0, done.stderr)
        token = done.stdout.strip()
        self.assertRegex(token, r"^hft_[0-9a-f]{64}$")
        return token

    def test_a_node_without_a_listener_for_it_speaks_no_http(self):
        node = self.node("node").start()
        self.assertEqual(raw(node.port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"), b"")

    def test_probes_and_metrics(self):
        node = self.http_node()
        self.assertEqual(ask(self.http, "GET", "/livez").body, "ok\n")
        self.assertEqual(ask(self.http, "GET", "/readyz").json(), {"ready": True})
        self.assertEqual(ask(self.http, "HEAD", "/readyz").body, "")
        self.assertEqual(ask(self.http, "POST", "/livez").status, 405)
        self.assertEqual(ask(self.http, "GET", "/etc/passwd").status, 404)
        self.client(node.port, "a").open()
        before = parse_metrics(ask(self.http, "GET", "/metrics").body)
        self.assertEqual(before["holdfast_mqtt_connections", ()], 1)
        for _ in range(3):
            publish(node.port, "a/secret", "x", "-r", qos=1)
        answer = ask(self.http, "GET", "/metrics")
        self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        after = parse_metrics(answer.body)
        self.assertEqual(after["holdfast_mqtt_messages_received_total", (("qos", "1"),)], 3)
        self.assertGreater(after["holdfast_store_fsync_seconds_count", ()], 0)
        self.assertGreater(after["holdfast_store_free_bytes", ()], 0)
        self.assertEqual(after["holdfast_mqtt_publish_ack_seconds_count", ()], 3)
        self.assertGreater(after["holdfast_mqtt_publish_ack_seconds_sum", ()], 0)
        self.assertEqual(after["holdfast_mqtt_connects_total", (("result", "accepted"),)], 4)
        self.assertNotIn("secret", answer.body)
        # What counts never goes back.
        for (name, labels), value in before.items():
            if name.endswith("_total"):
                self.assertGreaterEqual(after[name, labels], value, name)

    def test_the_queue_and_the_link_are_measured(self):
        hub = self.hub()
        self.http = free_port()
        listener = f'\n[[listener]]\naddress = "{LOOPBACK}:{self.http}"\nprotocol = "http"\n'
        site = self.site(hub, extra=listener).start()
        self.wait_online(site)
        self.assertEqual(parse_metrics(ask(self.http, "GET", "/metrics").body)["holdfast_link_up", ()], 1)
        hub.stop()
        self.wait_state(site, "offline")
        for _ in range(5):
            publish(site.port, "a", "x", qos=1)
        samples = parse_metrics(ask(self.http, "GET", "/metrics").body)
        self.assertEqual(samples["holdfast_link_up", ()], 0)
        self.assertEqual(sum(v for (name, _), v in samples.items() if name == "holdfast_queue_messages"), 5)
        self.assertEqual(ask(self.http, "GET", "/readyz").status, 200)  # Offline is what it is made for.

    def test_the_api_asks_for_a_token_and_says_what_the_admin_socket_says(self):
        node = self.http_node()
        self.assertEqual(ask(self.http, "GET", "/api/v1/status").status, 401)
        read = self.token(node, "read", "read")
        admin = self.token(node, "admin", "administer")
        tokens = node.directory / "tokens"
        self.assertEqual(stat.S_IMODE(tokens.stat().st_mode), 0o600)
        self.assertNotIn(read, tokens.read_text())
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 200)
        status = ask(self.http, "GET", "/api/v1/status", read).json()
        self.assertEqual(status["state"], "standalone")
        self.assertEqual(set(status), set(node.status()) | {"ok"})
        self.assertIn(f"http://{LOOPBACK}:{self.http}", status["listen"])

        self.assertEqual(ask(self.http, "POST", "/api/v1/nodes", read, {"name": "ship"}).status, 403)
        connection = http.client.HTTPConnection(LOOPBACK, self.http, timeout=15)
        made = ask(self.http, "POST", "/api/v1/nodes", admin, {"name": "ship", "down": ["d/#"]}, connection)
        self.assertEqual(made.status, 201)
        self.assertIn("claim", made.json())
        self.assertEqual(ask(self.http, "POST", "/api/v1/nodes", admin, {"name": "ship"}, connection).status, 409)
        nodes = ask(self.http, "GET", "/api/v1/nodes", read, connection=connection).json()["nodes"]
        self.assertEqual([(each["name"], each["down"]) for each in nodes], [("ship", ["d/#"])])
        self.assertEqual(ask(self.http, "POST", "/api/v1/nodes/ship/renew", admin, connection=connection).status, 200)
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/nodes/ship", admin, connection=connection).status, 200)
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/nodes/ship", admin, connection=connection).status, 404)
        self.assertEqual(ask(self.http, "POST", "/api/v1/connect", admin, connection=connection).status, 404)
        self.assertEqual(ask(self.http, "PUT", "/api/v1/nodes", admin, connection=connection).headers["Allow"], "GET, HEAD, POST")
        self.assertEqual(ask(self.http, "POST", "/api/v1/nodes", admin, "{}", connection, {"Content-Type": "text/plain"}).status, 415)
        connection.close()
        self.assertIn("HF-HTTP-002 POST /api/v1/nodes by the token admin from 127.0.0.1", node.log_tail(50))
        self.assertNotIn(admin, node.log_path.read_text())

        # Taken away, it is good no more; and a file that is broken is no token at all.
        self.assertEqual(node.command("token", "rm", "admin").returncode, 0)
        wait_for("the token to go", lambda: ask(self.http, "GET", "/api/v1/status", admin).status == 401)
        self.assertEqual(ask(self.http, "GET", "/api/v1/status", read).status, 200)
        text = tokens.read_text()
        tokens.write_text(text + "nonsense\n")
        wait_for("the broken file to shut", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 401)
        self.assertEqual(node.command("config", "test").returncode, 78)
        tokens.write_text(text)
        wait_for("the mended file to open", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 200)
        tokens.unlink()
        wait_for("the missing file to shut", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 401)

    def test_records_are_read_over_http(self):
        routes = '\n[[route]]\nfilter = "a/#"\nstream = "plant/a"\n'
        node = self.http_node(listener=routes)
        read = self.token(node, "read", "read")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 200)
        for payload in ("1", "2"):
            publish(node.port, "a/b", payload, qos=1)
        answer = ask(self.http, "GET", "/api/v1/streams/plant%2Fa/records?count=5", read)
        self.assertEqual([each["payload"] for each in answer.json()["records"]], ["1", "2"])
        self.assertEqual(ask(self.http, "GET", "/api/v1/streams/none/records", read).status, 404)

    def test_a_kick_says_what_it_did(self):
        node = self.http_node()
        admin = self.token(node, "admin", "administer")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", admin).status == 200)

        def kick(name, **body):
            answer = ask(self.http, "POST", f"/api/v1/clients/{name}/kick", admin, body or None)
            return answer.status, answer.json()

        client = self.client(node.port, "press-7", expiry_s=3600)
        client.open()
        self.assertEqual(kick("press-7"), (200, {"ok": True, "name": "press-7", "disconnected": True, "forgotten": False}))
        # It is away now, and its session is kept.
        self.assertEqual(kick("press-7"), (200, {"ok": True, "name": "press-7", "disconnected": False, "forgotten": False}))
        self.assertEqual(
            kick("press-7", forget=True), (200, {"ok": True, "name": "press-7", "disconnected": False, "forgotten": True}))
        self.assertEqual(kick("press-7", forget=True)[0], 404)
        self.assertEqual(kick("nobody")[0], 404)

    def tokens(self, node):
        roles = ("read", "operate", "administer")
        tokens = [self.token(node, role, role) for role in roles]
        wait_for("the tokens to hold", lambda: ask(self.http, "GET", "/api/v1/status", tokens[-1]).status == 200)
        return tokens

    def test_users_are_looked_after_over_http(self):
        node = self.http_node(extra="anonymous = false")
        read, operate, admin = self.tokens(node)

        def may_log_in(password):
            client = self.client(node.port, "anna-1", user=("anna", password))
            with contextlib.suppress(Exception):
                client.open(5)
            welcome = client.connected()
            client.abort()
            return welcome

        self.assertEqual(ask(self.http, "GET", "/api/v1/users", read).json()["users"], [])
        add = {"name": "anna", "password": "correct horse battery"}
        self.assertEqual(ask(self.http, "POST", "/api/v1/users", operate, add).status, 403)
        self.assertEqual(ask(self.http, "POST", "/api/v1/users", admin, {**add, "password": "short"}).status, 400)
        self.assertEqual(ask(self.http, "POST", "/api/v1/users", admin, {"name": "anna"}).status, 400)
        self.assertEqual(ask(self.http, "POST", "/api/v1/users", admin, add).json(), {"ok": True, "name": "anna", "scram": False})
        self.assertEqual(ask(self.http, "POST", "/api/v1/users", admin, add).status, 409)
        wait_for("anna to be known", lambda: may_log_in("correct horse battery"), 3)
        self.assertFalse(may_log_in("correct horse"))
        # Hashing is done on a thread of its own.
        tasks = [path.read_text().strip() for path in (pathlib.Path("/proc") / str(node.process.pid) / "task").glob("*/comm")]
        self.assertIn("admin", tasks)

        mine = ask(self.http, "GET", "/api/v1/users", read).json()
        mine.pop("ok")
        self.assertEqual(mine, json.loads(node.command("user", "ls", "-o", "json").stdout))
        other = {"password": "another good one", "scram": True}
        self.assertTrue(ask(self.http, "PUT", "/api/v1/users/anna/password", admin, other).json()["scram"])
        self.assertEqual(ask(self.http, "PUT", "/api/v1/users/bert/password", admin, other).status, 404)
        wait_for("the new password to hold", lambda: may_log_in("another good one"), 3)
        self.assertFalse(may_log_in("correct horse battery"))
        client = self.client(node.port, "anna-2", user=("anna", "another good one"))
        client.open()
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/users/anna", admin).status, 200)
        client.wait_until("to be thrown out", lambda: not client.connected(), 3)
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/users/anna", admin).status, 404)

        # With people who edit at the same time nobody gets lost.
        def by_hand(i):
            done = node.command("user", "add", f"hand-{i}", "--password-file", self.directory / "password")
            self.assertEqual(done.returncode, 0, done.stderr)

        (self.directory / "password").write_text("correct horse battery\n")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            hands = [pool.submit(by_hand, i) for i in range(4)]
            asked = [pool.submit(ask, self.http, "POST", "/api/v1/users", admin, {**add, "name": f"http-{i}"}) for i in range(4)]
            self.assertEqual([each.result().status for each in asked], [201] * 4)
            for each in hands:
                each.result()
        names = [each["name"] for each in ask(self.http, "GET", "/api/v1/users", read).json()["users"]]
        self.assertEqual(names, [f"{kind}-{i}" for kind in ("hand", "http") for i in range(4)])

        log = node.log_path.read_text()
        self.assertIn('PUT /api/v1/users/anna/password by the token administer from 127.0.0.1: user-passwd name="anna" scram=true', log)
        for secret in ("correct horse", "another good", "argon2"):
            self.assertNotIn(secret, log)

    def test_who_edits_by_hand_holds_nobody_up(self):
        node = self.http_node()
        admin = self.tokens(node)[-1]
        user = {"name": "anna", "password": "correct horse battery"}
        folder = os.open(node.directory, os.O_RDONLY | os.O_DIRECTORY)
        self.keep(lambda: os.close(folder))
        fcntl.flock(folder, fcntl.LOCK_EX)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, self.http, "POST", "/api/v1/users", admin, user)
            wait_for("the request to be there", lambda: "user-add" in node.log_tail(20))
            # The node goes on meanwhile.
            for _ in range(5):
                self.assertEqual(ask(self.http, "GET", "/livez").status, 200)
                publish(node.port, "a", "x", qos=1)
            self.assertFalse(asked.done())
            fcntl.flock(folder, fcntl.LOCK_UN)
            self.assertEqual(asked.result().status, 201)
            # Not for ever.
            fcntl.flock(folder, fcntl.LOCK_EX)
            refused = ask(self.http, "DELETE", "/api/v1/users/anna", admin)
            self.assertEqual((refused.status, refused.json()["code"]), (503, "busy"))
            fcntl.flock(folder, fcntl.LOCK_UN)
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/users/anna", admin).status, 200)

    def test_tokens_are_looked_after_over_http(self):
        node = self.http_node()
        read, operate, admin = self.tokens(node)
        self.assertEqual(ask(self.http, "POST", "/api/v1/tokens", operate, {"name": "x", "role": "administer"}).status, 403)
        self.assertEqual(ask(self.http, "POST", "/api/v1/tokens", admin, {"name": "x", "role": "king"}).status, 400)
        made = ask(self.http, "POST", "/api/v1/tokens", admin, {"name": "x", "role": "read"}).json()
        self.assertEqual(ask(self.http, "POST", "/api/v1/tokens", admin, {"name": "x", "role": "read"}).status, 409)
        wait_for("the new token to hold", lambda: ask(self.http, "GET", "/api/v1/status", made["token"]).status == 200, 3)
        answer = ask(self.http, "GET", "/api/v1/tokens", read)
        self.assertNotIn("hft_", answer.body)
        self.assertEqual({"tokens": answer.json()["tokens"]}, json.loads(node.command("token", "ls", "-o", "json").stdout))
        self.assertEqual([each["name"] for each in answer.json()["tokens"]], ["administer", "operate", "read", "x"])
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/tokens/x", admin).status, 200)
        self.assertEqual(ask(self.http, "DELETE", "/api/v1/tokens/x", admin).status, 404)
        wait_for("the token to be gone", lambda: ask(self.http, "GET", "/api/v1/status", made["token"]).status == 401, 3)
        log = node.log_path.read_text()
        self.assertIn('POST /api/v1/tokens by the token administer from 127.0.0.1: token-add name="x" role="read"', log)
        self.assertNotIn("hft_", log)

    def test_permissions_and_configuration_are_tested_over_http(self):
        node = self.http_node()
        read = self.tokens(node)[0]
        permissions = node.directory / "permissions.toml"
        permissions.write_text('[[permission]]\nuser = "anna"\npublish = ["sites/%u/#"]\n')
        for topic, more in (("sites/anna/door", ""), ("sites/bert/door", "&action=publish"), ("sites/%23", "&client=c%2F1")):
            options = [each.replace("action=", "--action=").replace("client=", "--client=") for each in more.split("&") if each]
            options = [each.replace("%2F", "/") for each in options]
            done = node.command("acl", "test", "anna", topic.replace("%23", "#"), "-o", "json", *options)
            answer = ask(self.http, "GET", f"/api/v1/acl?user=anna&topic={topic}{more}", read).json()
            answer.pop("ok")
            self.assertEqual(answer, json.loads(done.stdout), topic)
        self.assertEqual(ask(self.http, "GET", "/api/v1/acl?user=anna&topic=a/%23&action=publish", read).status, 400)
        self.assertEqual(ask(self.http, "GET", "/api/v1/acl?topic=a", read).status, 400)
        self.assertEqual(ask(self.http, "GET", "/api/v1/acl?user=&topic=a", read).status, 200)

        fine = ask(self.http, "GET", "/api/v1/config/test", read).json()
        self.assertEqual((fine["right"], fine["mistakes"], fine["file"]), (True, [], str(node.directory / "holdfast.toml")))
        permissions.write_text("nonsense = 1\n")
        self.assertEqual(ask(self.http, "GET", "/api/v1/acl?user=anna&topic=a", read).json()["code"], "corrupt")
        wrong = ask(self.http, "GET", "/api/v1/config/test", read).json()
        done = node.command("config", "test", "-o", "json")
        self.assertEqual((wrong["right"], wrong["mistakes"]), (False, json.loads(done.stdout)["mistakes"]))

    def test_a_message_is_published_over_http(self):
        node = self.http_node(listener='[mqtt]\nmax_packet = "2 KiB"\n[[route]]\nfilter = "kept/#"\nstream = "kept"')
        read, operate, admin = self.tokens(node)
        # What clients may do is not what tokens may do.
        (node.directory / "permissions.toml").write_text('[[permission]]\nuser = ""\nsubscribe = ["#"]\n')
        wait_for("the permissions to hold", lambda: "HF-RUN-006" in node.log_tail(50))

        def say(token=operate, **message):
            return ask(self.http, "POST", "/api/v1/messages", token, message)

        listener = self.client(node.port, "listener", version=mqtt.V5)
        listener.open()
        listener.subscribe("a/#", 2)
        self.assertEqual(say(read, topic="a/1", payload="x").status, 403)
        self.assertEqual(
            say(topic="a/1", payload="größer", qos=2).json(), {"ok": True, "topic": "a/1", "qos": 2, "stored": True, "wanted": True})
        self.assertEqual(say(topic="a/2", payload_base64="/w==", qos=1, retain=True).status, 200)
        listener.wait_until("to hear both", lambda: len(listener.messages) == 2)
        heard = [(each.topic, each.payload, each.qos) for each in listener.messages]
        self.assertEqual(heard, [("a/1", "größer".encode(), 2), ("a/2", b"\xff", 1)])
        self.assertEqual(say(topic="b", payload="x").json()["wanted"], False)
        self.assertEqual(
            [each["topic"] for each in ask(self.http, "GET", "/api/v1/retained", read).json()["retained"]], ["a/2"])

        for status, message in (
            (400, {"payload": "x"}), (400, {"topic": "a"}), (400, {"topic": "a/#", "payload": "x"}),
            (400, {"topic": "a", "payload": "x", "qos": 3}), (400, {"topic": "a", "payload": "x", "payload_base64": ""}),
            (400, {"topic": "a", "payload": "x", "user_properties": ["x"]}), (403, {"topic": "$SYS/x", "payload": "x"}),
            (413, {"topic": "a/1", "payload": "x" * 3000}),
        ):  # fmt: skip
            self.assertEqual(say(**message).status, status, message)

        # What was answered is on the disk.
        for i in range(20):
            answer = say(topic="kept/1", payload=str(i), qos=0 if i % 2 else 1, user_properties=["k=v"], expiry_s=60)
            self.assertTrue(answer.json()["stored"])
        node.kill()
        node.start()
        records = ask(self.http, "GET", "/api/v1/streams/kept/records?count=100", read).json()["records"]
        self.assertEqual([each["payload"] for each in records], [str(i) for i in range(20)])
        log = node.log_path.read_text()
        self.assertIn('POST /api/v1/messages by the token operate from 127.0.0.1: publish topic="a/1" payload=(8 bytes) qos=2', log)

    def test_every_command_has_its_route_or_a_reason(self):
        node = self.http_node()
        admin = self.tokens(node)[-1]

        def commands(*above):
            """All that do something: those without commands of their own, and `sub`, which has both."""
            text = command(*above, "--help").stdout
            section = re.search(r"(?ms)^Subcommands:\n(.*?)(?:^\S|\Z)", text)
            names = re.findall(r"(?m)^  (\w[\w-]*)", section.group(1)) if section else []
            for name in names:
                yield from commands(*above, name)
            if not re.search(r"(?m)^Usage: .* SUBCOMMAND$", text):
                yield " ".join(above)

        there = set(commands())
        self.assertIn("status", there)
        self.assertIn("user passwd", there)
        page = (ROOT / "docs" / "http.md").read_text()
        section = page[page.index("## What the command line does") : page.index("## Metrics")]
        table = dict(re.findall(r"(?m)^\| `([a-z ]+)` \| (.+) \|$", section))
        self.assertEqual(set(table), there)
        document = ask(self.http, "GET", OPENAPI, admin).json()
        routes = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
        named = set()
        for name, text in table.items():
            found = re.findall(r"`([A-Z]+ /[^`]+)`", text)
            self.assertTrue(found if not text.startswith("none: ") else len(text) > 20, name)
            named |= set(found)
        self.assertEqual(named, routes)
        # And the API's own table.
        api = page[page.index("## The API") : page.index("## What the command line does")]
        rows = re.findall(r"(?m)^\| `(\w+ [^`?]+)(?:\?([^`]*))?` \| `([a-z-]+)` \| (\w+) \|$", api)
        told = {(route, operation, role, tuple(re.findall(r"(\w+)=", query))) for route, query, operation, role in rows}
        true = {
            (f"{method.upper()} {path}", operation["operationId"], operation["x-role"],
             tuple(each["name"] for each in operation.get("parameters", []) if each["in"] == "query"))
            for path, operations in document["paths"].items() for method, operation in operations.items()
        }  # fmt: skip
        self.assertEqual(told, true)

    def test_every_answer_is_as_the_openapi_document_says(self):
        # ask() holds each answer against it; here all that are read are asked for, with something in them.
        hub = self.hub()
        self.http = free_port()
        listener = f'\n[[listener]]\naddress = "{LOOPBACK}:{self.http}"\nprotocol = "http"\n[[route]]\nfilter = "a/#"\nstream = "a"\n'
        site = self.site(hub, extra=listener).start()
        self.wait_online(site)
        read = self.token(site, "read", "read")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", read).status == 200)
        client = self.client(site.port, "press-7", expiry_s=3600)
        client.open()
        client.subscribe("b/#", 1)
        client.subscribe("$share/g/s/#", 1)
        client.disconnect()
        hub.stop()
        self.wait_state(site, "offline")
        for topic in ("a/1", "b/1", "s/1"):
            publish(site.port, topic, "x", "-r", qos=1)
        for path in (
            "version", "streams", "streams/a/records", "streams/a/export", "nodes", "config", "config?key=quota", "clients?count=1",
            "clients/press-7", "subscriptions", "subscriptions?topic=b/1", "retained?count=1", "queues", "queues/parent",
            "queues/press-7", "queues/g%2Fs%2F%23",
        ):  # fmt: skip
            answer = ask(self.http, "GET", "/api/v1/" + path, read)
            self.assertEqual(answer.status, 200, path)
            rows = [each for each in answer.json().values() if isinstance(each, list)]
            self.assertTrue(all(rows) or path == "nodes", (path, answer.body))
        admin = self.token(site, "admin", "administer")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", admin).status == 200)
        gives_up = lambda name, token: ask(self.http, "DELETE", f"/api/v1/queues/{name}", token).status
        self.assertEqual([403, 400, 409], [gives_up("parent", read), gives_up("press-7", admin), gives_up("parent", admin)])

    def test_the_openapi_document_is_true(self):
        node = self.http_node()
        admin = self.token(node, "admin", "administer")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", admin).status == 200)
        document = ask(self.http, "GET", "/api/v1/openapi.json", admin).json()
        self.assertEqual(document["openapi"], "3.1.0")
        schemas = document["components"]["schemas"]
        self.assertEqual(document["security"], [{"token": []}])

        def resolve(part):
            if isinstance(part, dict):
                if "$ref" in part:
                    self.assertIn(part["$ref"].removeprefix("#/components/schemas/"), schemas)
                for each in part.values():
                    resolve(each)
            elif isinstance(part, list):
                for each in part:
                    resolve(each)

        resolve(document)
        seen = set()
        for path, operations in document["paths"].items():
            named = set(re.findall(r"\{(\w+)\}", path))
            for method, operation in operations.items():
                seen.add(operation["operationId"])
                self.assertTrue(operation["summary"])
                parameters = operation.get("parameters", [])
                self.assertEqual({each["name"] for each in parameters if each["in"] == "path"}, named, path)
                for code, response in operation["responses"].items():
                    self.assertRegex(code, r"^(\d{3}|default)$")
                    self.assertTrue(response["description"])
                    self.assertTrue(response["content"])
                # What it says is what happens, nobody having a token.
                answer = ask(self.http, method.upper(), re.sub(r"\{\w+\}", "x", path))
                self.assertEqual(answer.status, 401, path)
                if method == "get":
                    answer = ask(self.http, "GET", re.sub(r"\{\w+\}", "x", path), admin)
                    self.assertIn(str(answer.status), operation["responses"], path)
        # Every operation of the admin protocol's page has its resource.
        page = (ROOT / "docs" / "formats" / "admin.md").read_text()
        page = page[page.index("## Commands") : page.index("## Queues")]
        commands = set(re.findall(r"(?m)^\| `([a-z-]+)` \|", page))
        self.assertEqual(commands - seen, set())
        # And says of each what its answer has.
        rows = dict(re.findall(r"(?m)^\| `([a-z-]+)` \| (.+) \|$", page))
        for path, operations in document["paths"].items():
            for operation in operations.values():
                good = next(each for code, each in operation["responses"].items() if code.startswith("2"))
                schema = schemas[good["content"]["application/json"]["schema"]["$ref"].rsplit("/")[-1]]
                told = set(re.findall(r"`(\w+)`", rows[operation["operationId"]]))
                paged = {"cursor"} if "*pages*" in rows[operation["operationId"]] else set()
                self.assertEqual(set(schema["properties"]) - {"ok"} - told - paged, set(), path)

    def test_a_locked_node_says_so(self):
        node = self.http_node(start=False)
        (node.directory / "key").chmod(0o600)
        (node.directory / "key").write_bytes(os.urandom(32))
        node.start(wait=False)

        def answer():
            with contextlib.suppress(OSError):
                return ask(self.http, "GET", "/readyz")

        self.assertEqual(wait_for("the node to answer", answer).status, 503)
        self.assertEqual(answer().json()["code"], "locked")
        self.assertEqual(ask(self.http, "GET", "/livez").status, 200)
        self.assertEqual(parse_metrics(ask(self.http, "GET", "/metrics").body)["holdfast_locked", ()], 1)
        token = self.token(node, "a", "administer")
        wait_for("the token to hold", lambda: ask(self.http, "GET", "/api/v1/status", token).status == 200)
        self.assertEqual(ask(self.http, "GET", "/api/v1/nodes", token).json()["code"], "locked")
        self.assertEqual(ask(self.http, "POST", "/api/v1/messages", token, {"topic": "a", "payload": "x"}).json()["code"], "locked")
        # Files are no part of the store.
        self.assertEqual(ask(self.http, "GET", "/api/v1/tokens", token).json()["tokens"], [{"name": "a", "role": "administer"}])
        node.stop()

    def test_who_means_no_good(self):
        node = self.http_node()
        client = self.client(node.port, "bystander")
        client.open()
        for request, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nHost: a\n\n", 400),
            (b"GET / HTTP/1.0\r\n\r\n", 505),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\n", 400),
            (b"GET /" + b"a" * 17000, 431),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
            (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
            (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        ):
            answer = raw(self.http, request)
            self.assertEqual(answer[9:12], str(status).encode(), (request[:60], answer[:200]))
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, request[:60])
        # Many connections that say nothing or little: whoever comes is still served, and MQTT too.
        idle = [socket.create_connection((LOOPBACK, self.http)) for _ in range(200)]
        for each in idle[:100]:
            with contextlib.suppress(OSError):
                each.sendall(b"GET /livez HTTP/1.1\r\nX")

        def live():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return ask(self.http, "GET", "/livez").status == 200

        wait_for("a probe to come through", live, 10, every_s=0.3)
        client.publish("a", b"still here", qos=1)
        samples = parse_metrics(ask(self.http, "GET", "/metrics").body)
        self.assertLessEqual(samples["holdfast_http_connections", ()], 64)
        self.assertGreater(samples["holdfast_http_refusals_total", (("reason", "limit"),)], 0)
        for each in idle:
            each.close()
        self.assertTrue(node.running())

    def test_wrong_tokens_from_elsewhere_are_slowed(self):
        node = self.http_node(listener="proxy = true")
        good = self.token(node, "good", "read")
        far = PROXY_SIGNATURE + b"\x21\x11" + struct.pack(">H", 12) + bytes([192, 0, 2, 1, 127, 0, 0, 1]) + struct.pack(">HH", 5, 80)

        def status(path, token):
            line = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            line += f"Authorization: Bearer {token}\r\n\r\n" if token else "\r\n"
            return int(raw(self.http, line.encode(), prefix=far)[9:12])

        self.assertEqual(status("/livez", None), 401)
        wait_for("the token to hold", lambda: status("/livez", good) == 200)
        self.assertEqual([status("/livez", "wrong") for _ in range(5)], [401] * 4 + [429])
        self.assertEqual(status("/livez", good), 200)

    def test_tls(self):
        pki = self.directory / "pki"
        pki.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=hub.example", "-addext", "subjectAltName=DNS:hub.example", "-keyout", pki / "key.pem", "-out", pki / "cert.pem"],
            check=True, capture_output=True, timeout=20)
        (pki / "key.pem").chmod(0o400)
        node = self.http_node(listener=f'certificate = "{pki}/cert.pem"\nkey = "{pki}/key.pem"\nhosts = ["hub.example"]')
        token = self.token(node, "scrape", "read")
        context = ssl.create_default_context(cafile=pki / "cert.pem")
        context.set_alpn_protocols(["h2", "http/1.1"])

        def over_tls(path, token=None):
            peer = context.wrap_socket(socket.create_connection((LOOPBACK, self.http), timeout=15), server_hostname="hub.example")
            self.assertEqual(peer.selected_alpn_protocol(), "http/1.1")
            connection = http.client.HTTPConnection("hub.example", self.http, timeout=15)
            connection.sock = peer
            try:
                return ask(self.http, "GET", path, token, connection=connection)
            finally:
                peer.close()

        self.assertEqual(over_tls("/metrics").status, 401)
        wait_for("the token to hold", lambda: over_tls("/livez", token).status == 200)
        parse_metrics(over_tls("/metrics", token).body)
        self.assertEqual(over_tls("/api/v1/status", token).status, 200)
        # Who speaks no TLS there gets no answer that could be taken for one.
        self.assertNotIn(b"HTTP/1.1", raw(self.http, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"))

    def test_plain_http_stays_on_this_machine(self):
        node = self.node("node", extra='\n[[listener]]\naddress = "0.0.0.0:18080"\nprotocol = "http"\n')
        path = node.directory / "holdfast.toml"
        path.write_text("insecure = true\n" + path.read_text())
        done = node.command("config", "test")
        self.assertEqual(done.returncode, 78)
        self.assertIn("carries tokens", done.stderr)

    def test_the_log_as_json(self):
        node = self.http_node(extra='log = "json"')
        for _ in range(15):
            ask(self.http, "GET", "/api/v1/status", "wrong")
        node.stop()
        lines = [json.loads(line) for line in node.log_path.read_text().splitlines()]
        self.assertTrue(all(set(line) == {"time", "event", "text"} for line in lines))
        self.assertEqual(sum(line["event"] == "HF-HTTP-001" for line in lines), 10)

    def test_a_frozen_node_answers_nothing_and_goes_on_after(self):
        node = self.http_node()
        connection = http.client.HTTPConnection(LOOPBACK, self.http, timeout=15)
        self.assertEqual(ask(self.http, "GET", "/livez", connection=connection).status, 200)
        node.process.send_signal(signal.SIGSTOP)
        try:
            probe = http.client.HTTPConnection(LOOPBACK, self.http, timeout=0.5)
            with self.assertRaises(TimeoutError):
                ask(self.http, "GET", "/livez", connection=probe)
        finally:
            node.process.send_signal(signal.SIGCONT)
        self.assertEqual(ask(self.http, "GET", "/livez", connection=connection).status, 200)
        connection.close()
