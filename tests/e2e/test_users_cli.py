"""The files of users and permissions as an administrator meets them: `holdfast user`, `holdfast acl test`, `config test`."""

import json
import os
import pty
import signal
import stat
import subprocess
import termios

from harness import Case
from processes import HOLDFAST, end, spawn

PASSWORD = "correct horse"


class UsersCli(Case):
    def setUp(self):
        self.holdfast = self.node("node")
        self.users = self.holdfast.directory / "users"
        self.permissions = self.holdfast.directory / "permissions.toml"

    def said(self, *arguments, code=0, password=None):
        """Runs it with a password on standard input; what it said on both."""
        done = subprocess.run(
            [str(HOLDFAST), *arguments, "--data", str(self.holdfast.directory)],
            input="" if password is None else password + "\n",
            capture_output=True,
            text=True,
            timeout=20,
        )
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        self.assertNotIn("terminate called", done.stderr)
        return done.stdout + done.stderr

    def names(self):
        return [user["name"] for user in json.loads(self.said("user", "ls", "-o", "json"))["users"]]

    def test_a_user_from_the_first_to_the_last_day(self):
        """Goal: each step changes this user's line and no other, and says what it did."""
        self.assertIn("holdfast user add", self.said("user", "ls"))
        self.assertIn("Added anna", self.said("user", "add", "anna", password=PASSWORD))
        self.assertEqual(0o600, stat.S_IMODE(self.users.stat().st_mode))
        self.users.write_text("# the office\n" + self.users.read_text() + "\n# machines\n")
        self.assertIn("SCRAM", self.said("user", "add", "press-7", "--scram", password=PASSWORD))
        self.assertEqual(["anna", "press-7"], self.names())
        self.assertRegex(
            self.said("user", "ls"),
            r"^NAME +PASSWORD +SCRAM\nanna +argon2id m=19456,t=2,p=1 +-\npress-7 +argon2id .* +SHA-256 i=15000\n$",
        )
        before = self.users.read_text().splitlines()
        secret = self.directory / "secret"
        secret.write_text("another password\n")
        self.said("user", "passwd", "press-7", "--password-file", str(secret))
        after = self.users.read_text().splitlines()
        self.assertEqual(before[:-1], after[:-1])
        self.assertTrue(after[-1].startswith("press-7:$argon2id$"))
        for was, now in zip(before[-1].split(":", 2), after[-1].split(":", 2)):
            self.assertEqual(was == "press-7", was == now, "password and SCRAM are both new")
        self.said("user", "passwd", "press-7", "--no-scram", password=PASSWORD)
        self.assertNotIn("SCRAM", self.users.read_text())
        self.said("user", "rm", "anna")
        self.assertEqual(["press-7"], self.names())
        self.assertTrue(self.users.read_text().startswith("# the office\n\n# machines\npress-7:"))
        self.assertEqual([], list(self.holdfast.directory.glob("users.*")), "nothing is left behind")

    def test_what_is_refused(self):
        self.said("user", "add", "anna", password=PASSWORD)
        was = self.users.read_bytes()
        self.assertIn("passwd anna", self.said("user", "add", "anna", password=PASSWORD, code=1))
        self.assertIn("did you mean `anna`?", self.said("user", "passwd", "ana", password=PASSWORD, code=1))
        self.assertIn("no user bert", self.said("user", "rm", "bert", code=1))
        self.assertIn("8 at least", self.said("user", "add", "bert", password="1234567", code=1))
        self.assertIn("8 at least", self.said("user", "add", "bert", code=1))
        for name in ("a/b", "a:b", "#a", "+", "*", "$SYS", " a", ""):
            self.assertIn("cannot be a user's name", self.said("user", "add", name, password=PASSWORD, code=2))
        self.said("user", "add", "bert", PASSWORD[:7], password=PASSWORD, code=2)  # Never an argument.
        self.said("user", "add", "bert", "--scram", "--iterations", "4095", password=PASSWORD, code=2)
        self.assertIn("cannot read", self.said("user", "add", "bert", "--password-file", "/nowhere", code=1))
        self.assertEqual(was, self.users.read_bytes())

    def test_a_wrong_file_is_left_alone(self):
        """Goal: a line that is wrong is named everywhere, and nobody writes into such a file."""
        self.said("user", "add", "anna", password=PASSWORD)
        wrong = self.users.read_text() + "bert:\nanna:x\n"
        self.users.write_text(wrong)
        for arguments in (["user", "ls"], ["user", "rm", "anna"], ["user", "add", "carl"], ["config", "test"]):
            said = self.said(*arguments, password=PASSWORD, code=78)
            self.assertIn(f"{self.users}:2: `bert`: ", said)
            self.assertIn(f"{self.users}:3: `anna`: ", said)
        self.assertEqual(wrong, self.users.read_text())

    def test_two_at_once(self):
        """Goal: no edit is lost."""
        going = []
        for i in range(8):
            going.append(
                spawn(
                    [HOLDFAST, "user", "add", f"user-{i}", "--data", self.holdfast.directory],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                )
            )
            self.keep(lambda process=going[-1]: end(process))
        for process in going:
            process.communicate(PASSWORD.encode() + b"\n", timeout=20)
            self.assertEqual(0, process.returncode)
        self.assertEqual([f"user-{i}" for i in range(8)], self.names())

    def at_terminal(self, *arguments):
        """Runs it at a terminal of its own; the process, and our end of the terminal."""
        ours, its = pty.openpty()
        self.keep(lambda: os.close(ours))
        process = subprocess.Popen(
            # Whoever started the tests may have had SIGINT ignored, as shells have it for what runs beside them.
            ["env", "--default-signal=INT", "setsid", "--ctty", str(HOLDFAST), *arguments, "--data", str(self.holdfast.directory)],
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        self.keep(lambda: end(process))
        return process, ours

    def shown_until(self, terminal, words):
        """Everything that the terminal showed up to these words."""
        shown = ""
        while words not in shown:
            try:
                part = os.read(terminal, 1000)
            except OSError:  # The other end is closed.
                part = b""
            self.assertNotEqual(b"", part, shown)
            shown += part.decode()
        return shown

    def test_at_a_terminal(self):
        """Goal: asked twice, shown never; a difference and Ctrl-C change nothing, and the terminal shows again what is typed."""
        process, terminal = self.at_terminal("user", "add", "anna")
        shown = self.shown_until(terminal, "New password for anna: ")
        os.write(terminal, PASSWORD.encode() + b"\n")
        shown += self.shown_until(terminal, "Again, for anna: ")
        os.write(terminal, PASSWORD.encode() + b"\n")
        shown += self.shown_until(terminal, "Added anna")
        self.assertEqual(0, process.wait(10))
        self.assertNotIn(PASSWORD, shown)

        process, terminal = self.at_terminal("user", "add", "bert")
        self.shown_until(terminal, "New password for bert: ")
        os.write(terminal, PASSWORD.encode() + b"\n")
        self.shown_until(terminal, "Again, for bert: ")
        os.write(terminal, b"correct house\n")
        self.shown_until(terminal, "differ")
        self.assertEqual(1, process.wait(10))

        process, terminal = self.at_terminal("user", "add", "bert")
        self.shown_until(terminal, "New password for bert: ")
        self.assertFalse(termios.tcgetattr(terminal)[3] & termios.ECHO)
        os.write(terminal, b"corr\x03")
        self.assertIn(process.wait(10), (-signal.SIGINT, 128 + signal.SIGINT))
        self.assertTrue(termios.tcgetattr(terminal)[3] & termios.ECHO)
        self.assertEqual(["anna"], self.names())

    def test_a_password_to_log_in_with_is_asked_for_once(self):
        self.said("user", "add", "anna", password=PASSWORD)
        node = self.holdfast.start()
        place = ["-h", "127.0.0.1", "-p", str(node.port), "--user", "anna"]
        process, terminal = self.at_terminal("pub", *place, "-t", "a", "-r", "-m", "x")
        shown = self.shown_until(terminal, "Password for anna: ")
        os.write(terminal, PASSWORD.encode() + b"\n")
        self.assertEqual(0, process.wait(10))
        self.assertNotIn(PASSWORD, shown)

    def test_permissions_are_explained(self):
        answer = self.said("acl", "test", "", "a/b")
        self.assertEqual(4, answer.count("there is no permissions file"))
        self.permissions.write_text(
            '[[permission]]\nuser = "*"\npublish = ["sites/%u/#"]\nsubscribe = ["sites/%u/#", "news/#"]\n\n'
            '[[permission]]\nuser = "anna"\nclient = "panel-*"\ndeny_publish = ["sites/+/door"]\n'
        )
        self.said("user", "add", "anna", password=PASSWORD)
        self.assertRegex(self.said("acl", "test", "anna", "sites/anna/door"), r"publish +allowed +\S+permissions.toml:3: ")
        denied = self.said("acl", "test", "anna", "sites/anna/door", "--client", "panel-1", "--action", "publish", code=1)
        self.assertIn(f'{self.permissions}:9: `deny_publish` has "sites/+/door"', denied)
        self.said("acl", "test", "anna", "sites/anna/door", "--action", "publish")
        self.assertIn("there is no user bert", self.said("acl", "test", "bert", "news/1", "--action", "receive"))
        self.said("acl", "test", "", "news/1", "--action", "receive", code=1)
        self.said("acl", "test", "anna", "news/#", "--action", "publish", code=2)
        answer = json.loads(self.said("acl", "test", "anna", "news/#", "-o", "json"))
        self.assertEqual(
            [("subscribe", True, 4)], [(each["action"], each["allowed"], each["line"]) for each in answer["answers"]]
        )
        said = self.said("config", "test")
        self.assertIn("users is right: 1 user.", said)
        self.assertIn("permissions.toml is right: 2 entries.", said)
        self.permissions.write_text('[[permission]]\nuser = "*"\npublsh = []\n')
        for arguments in (["config", "test"], ["acl", "test", "anna", "a"]):
            self.assertIn(
                f"{self.permissions}:3: unknown key `permission.publsh`; did you mean `permission.publish`?",
                self.said(*arguments, code=78),
            )

    def test_files_elsewhere(self):
        """Goal: a path begins at the configuration file; one that is named has to be there, and `user add` makes it."""
        elsewhere = self.directory / "etc"
        elsewhere.mkdir()
        config = elsewhere / "holdfast.toml"
        config.write_text('users = "who"\npermissions = "may.toml"\n')
        said = self.said("config", "test", str(config), code=78)
        self.assertIn(f"cannot read {elsewhere / 'who'}", said)
        self.assertIn(f"cannot read {elsewhere / 'may.toml'}", said)
        self.said("user", "add", "anna", "--config", str(config), password=PASSWORD)
        self.assertTrue((elsewhere / "who").read_text().startswith("anna:"))
        self.said("config", "test", str(config), code=78)
        (elsewhere / "may.toml").write_text("")
        self.assertIn("who is right: 1 user.", self.said("config", "test", str(config)))
        self.said("acl", "test", "anna", "a", "--config", str(config), "--action", "publish", code=1)
        self.assertFalse(self.users.exists())
