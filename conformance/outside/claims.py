"""How a check says what it found: one line for each claim, `ok - ...` or `not ok - ...`, which `run` counts.

A claim that fails does not stop the others; the exit code says whether any did. Where the gateway is comes from the
environment, as `run` sets it. No rule of the gateway is known here.
"""

import os
import sys
import traceback

ADDRESS = os.environ["ONBILL_ADDRESS"]
KEY = "demo-key"
CLAIMS = []


def claim(function):
    """Registers a function as a claim; its name is what it claims."""
    CLAIMS.append(function)
    return function


def same(got, expected, what=""):
    """Fails unless the two are equal, and shows both."""
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}".removeprefix(": "))


def number(condition):
    """A sandbox number of this condition that nobody else has in this run."""
    number.taken += 1
    return f"555{number.taken:05}{condition}"


number.taken = os.getpid() % 500 * 100


def name(prefix):
    """A transaction id that nobody else has in this run."""
    name.taken += 1
    return f"{prefix}-{os.getpid()}-{name.taken}"


name.taken = 0


def run_claims(group):
    """Runs every claim of the file and ends the process."""
    failed = 0
    for function in CLAIMS:
        text = f"{group}: {function.__name__.replace('_', ' ')}"
        try:
            function()
            print(f"ok - {text}", flush=True)
        except Exception as error:  # Whatever it is, the claim does not hold.
            failed += 1
            print(f"not ok - {text}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc(limit=-2)
    sys.exit(1 if failed else 0)
