"""Runs the commands of a README as a stranger would: every fenced block marked `sh`, in order, in one folder.

Invariant: a command is changed in three ways only: the default addresses become those of the gateway under test,
`target/release/onbill` and `cargo run ... --` become the built binary, and `make ...` and comments are left out (CI
runs the recipes itself). A block runs under `set -eu` as a whole, and without pipefail, as in a terminal; a block after
`<!-- not run: why -->` is skipped.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(?P<before><!-- not run: [^>]*-->\s*)?^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SKIPPED = re.compile(r"^\s*(make\b|#|git clone\b|cd onbill\b)")
PATIENCE_S = 60


def blocks(text):
    """The commands of each block that is to be run, with the number of its first line."""
    for found in FENCE.finditer(text):
        if found["before"]:
            continue
        line = text.count("\n", 0, found.start("text")) + 1
        lines = [each for each in found["text"].splitlines() if not SKIPPED.match(each)]
        if any(each.strip() for each in lines):
            yield line, "\n".join(lines) + "\n"


def fitted(text, address, admin):
    """The commands with what differs under test put in."""
    for known in ("127.0.0.1", "localhost"):
        text = text.replace(f"{known}:8080", address).replace(f"{known}:9090", admin)
    text = re.sub(r"(\./)?target/(release|debug)/onbill\b", "onbill", text)
    return re.sub(r"cargo run (?:[^\n|&;]*? )?-- ", "onbill ", text)


SAMPLE = """
```sh
make run
```
```sh
# A comment.
curl http://127.0.0.1:8080/pin http://localhost:9090/readyz
cargo run --release -- key new
```
<!-- not run: it never ends -->
```sh
./target/release/onbill serve
```
```
not a command
```
"""


def check_the_reading():
    """Fails unless a sample is read as it should be: a runner that finds nothing would pass everything."""
    expected = [(6, "curl http://a:1/pin http://b:2/readyz\nonbill key new\n")]
    got = [(line, fitted(text, "a:1", "b:2")) for line, text in blocks(SAMPLE)]
    assert got == expected, got


def main():
    check_the_reading()
    readme = pathlib.Path(sys.argv[1])
    address, admin = os.environ["ONBILL_ADDRESS"], os.environ["ONBILL_ADMIN_ADDRESS"]
    found = list(blocks(readme.read_text()))
    if not found:
        print(f"not ok - README: {readme} has no block of commands")
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("proto", "deploy", "conformance"):
            if (ROOT / name).exists():
                os.symlink(ROOT / name, pathlib.Path(folder) / name)
        for line, text in found:
            script = "set -eu\n" + fitted(text, address, admin)
            try:
                done = subprocess.run(
                    ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, input=""
                )
                code, output = done.returncode, done.stdout + done.stderr
            except subprocess.TimeoutExpired as error:
                code, output = f"none after {PATIENCE_S} s", str(error.stdout)
            # curl -s says nothing of an error that the gateway answers.
            refused = re.search(r'"code":"(system-error|authorization-failure|not-found|service-unavailable)"', output)
            if code == 0 and not refused:
                print(f"ok - README: the commands of line {line}")
            else:
                failed = 1
                print(f"not ok - README: the commands of line {line}: exit code {code}\n{text}\n{output}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
