#!/usr/bin/env python3
"""End-to-end tests: the binary as a user meets it, with real sockets, real files, real clients and real kills.

    tests/e2e/run.py                   all of them
    tests/e2e/run.py crash link        those whose name contains one of the words
    E2E_SEED=1234 tests/e2e/run.py     the same random instants again

Uses the release build. Prints a line for each test; a test that fails also prints the last lines of its nodes' logs.
"""

import concurrent.futures
import contextlib
import io
import multiprocessing
import pathlib
import shutil
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import harness  # noqa: E402
from processes import HOLDFAST  # noqa: E402


class Result(unittest.TestResult):
    """A line for each test, as it ends."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.notes = []
        print(f"{name_of(test):<58} ", end="", flush=True)

    def _line(self, outcome, note=""):
        print(f"{outcome:<4} {time.monotonic() - self.began:6.1f} s  {note}".rstrip(), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", getattr(test, "note", ""))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("skip", reason)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._failed(error)

    def addError(self, test, error):
        super().addError(test, error)
        self._failed(error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._failed(error)

    def _failed(self, error):
        self._line("FAIL")
        kind, value, trace = error
        # Where in the test, and why; the innards of the harness only if they are what broke.
        expected = isinstance(value, (AssertionError, harness.Failed, TimeoutError))
        frames = [frame for frame in traceback.extract_tb(trace) if pathlib.Path(frame.filename).parent == HERE]
        for frame in frames if not expected else [f for f in frames if "/test_" in f.filename] or frames:
            print(f"    {pathlib.Path(frame.filename).name}:{frame.lineno}: {frame.line}")
        print(f"    {kind.__name__}: {value}", flush=True)


def name_of(test):
    module, _, method = test.id().rpartition(".")
    return f"{module.split('.')[0].removeprefix('test_')}: {method.removeprefix('test_').replace('_', ' ')}"


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def waits(test):
    return getattr(getattr(test, test.id().rpartition(".")[2]), "waits", False)


def run(tests):
    """How many failed and how many were skipped."""
    result = Result()
    for test in tests:
        test(result)
    return len(result.failures) + len(result.errors), len(result.skipped)


def run_aside(test):
    """In a process of its own: what it printed, and the same."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        counts = run([test])
    return printed.getvalue(), *counts


def main():
    if not HOLDFAST.exists():
        sys.exit(f"e2e: {HOLDFAST} is not built; use: scripts/test.sh e2e")
    for program in ("mosquitto_sub", "mosquitto_pub"):
        if not shutil.which(program):
            sys.exit(f"e2e: {program} is missing; use: scripts/install.sh build test")
    words = sys.argv[1:]
    tests = list(flatten(unittest.defaultTestLoader.discover(str(HERE), pattern="test_*.py")))
    chosen = [test for test in tests if not words or any(word in test.id() for word in words)]
    if not chosen:
        sys.exit(f"e2e: no test is called {' or '.join(words)}")
    began = time.monotonic()
    print(f"e2e: {len(chosen)} tests, E2E_SEED={harness.SEED}", flush=True)
    aside = [test for test in chosen if waits(test)]
    if len(aside) < 2:
        aside = []
    failed, skipped = 0, 0
    # Forked before anything was started, so that nothing is shared.
    with concurrent.futures.ProcessPoolExecutor(len(aside) or 1, multiprocessing.get_context("fork")) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run_aside, test) for test in aside]):
            printed, failed_there, skipped_there = done.result()
            print(printed, end="", flush=True)
            failed, skipped = failed + failed_there, skipped + skipped_there
    failed_here, skipped_here = run([test for test in chosen if test not in aside])
    failed, skipped = failed + failed_here, skipped + skipped_here
    said = f", {skipped} skipped" if skipped else ""
    print(f"e2e: {len(chosen)} tests, {failed} failed{said}, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
