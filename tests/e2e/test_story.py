"""The story (make run): its judge can find what it looks for, and it holds."""

import json
import os
import pathlib
import subprocess

import story
from harness import ROOT, Case


class Story(Case):
    def setUp(self):
        self.recording = story.Recording(ROOT / "data" / "room_sensors.csv.gz")

    def perfect(self):
        return [
            (topic, 2, f"hf-origin:site-1 hf-seq:1:telemetry:2 hf-time:{self.recording.times[payload]}", payload)
            for topic, payloads in self.recording.payloads.items()
            for payload in payloads
        ]

    def judged(self, arrived):
        judged = story.Judgement(self.recording, arrived)
        return judged.lost, judged.doubled, judged.disordered, judged.strange, judged.unlabelled

    def test_the_recording_is_what_the_devices_sent(self):
        self.assertEqual((50270, 3), (self.recording.count, len(self.recording.payloads)))
        first = self.recording.payloads["site-1/iot-device-01/readings"][0]
        readme = (ROOT / "data" / "README.md").read_text()
        self.assertIn(first.decode(), "".join(line[4:] for line in readme.splitlines() if line.startswith("    ")))
        self.assertEqual("2020-07-13T00:00:24.502333Z", self.recording.times[first])
        for payloads in self.recording.payloads.values():
            for payload in payloads:
                json.loads(payload)

    def test_the_judge_finds_what_is_wrong(self):
        """Method: the perfect arrival, and one damage of each kind. One message is in the recording twice: that is no double,
        but a third one is."""
        arrived = self.perfect()
        self.assertEqual((0, 0, 0, 0, 0), self.judged(arrived))
        self.assertEqual((1, 0, 0, 0, 0), self.judged(arrived[:100] + arrived[101:]))
        self.assertEqual((0, 1, 0, 0, 0), self.judged(arrived + arrived[7:8]))
        self.assertEqual((0, 0, 1, 0, 0), self.judged([arrived[1], arrived[0], *arrived[2:]]))
        altered = arrived[0][:3] + (arrived[0][3].replace(b"false", b"true", 1),)
        self.assertEqual((1, 0, 0, 1, 1), self.judged([altered, *arrived[1:]]))
        other_topic = ("site-1/iot-device-09/readings", *arrived[0][1:])
        self.assertEqual((1, 0, 0, 1, 0), self.judged([other_topic, *arrived[1:]]))
        unlabelled = (arrived[0][0], 2, "hf-origin:site-10", arrived[0][3])
        self.assertEqual((0, 0, 0, 0, 1), self.judged([unlabelled, *arrived[1:]]))
        payloads = [message[3] for message in arrived]
        twice = next(index for index, (one, two) in enumerate(zip(payloads, payloads[1:])) if one == two)
        self.assertEqual((1, 0, 0, 0, 0), self.judged(arrived[:twice] + arrived[twice + 1 :]))
        self.assertEqual((0, 1, 0, 0, 0), self.judged(arrived[:twice] + arrived[twice : twice + 1] + arrived[twice:]))

    def test_it_holds(self):
        """Method: the whole story, faster than make run tells it."""
        done = subprocess.run(
            [ROOT / "story" / "run.sh", "--seconds", "8"],
            env={**os.environ, "CI": "true", "TMPDIR": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=70,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(0, done.returncode, done.stdout[-3000:] + done.stderr[-2000:])
        for name in ("published by three devices", "acknowledged to them", "arrived at the hub"):
            self.assertRegex(done.stdout, rf"{name} +50,270  ok")
        self.assertEqual([], list(pathlib.Path(self.directory).iterdir()), "the story removes what it made")
