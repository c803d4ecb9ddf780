"""The description of the JSON face, judged by others: openapi-spec-validator reads it as OpenAPI 3.1, and schemathesis
calls every operation in it with data that fits and data that does not.

Invariant: every check of schemathesis is on but one. positive_data_acceptance would have every well-formed request
succeed, and a number that no operator knows is well formed. The seed is fixed, so that a failure can be seen again.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

from claims import ADDRESS, KEY, claim, run_claims, same

EXAMPLES = os.environ.get("ONBILL_OUTSIDE_EXAMPLES", "100")
SEED = os.environ.get("ONBILL_OUTSIDE_SEED", "1")


def document():
    """The description, as it is served."""
    with urllib.request.urlopen(f"http://{ADDRESS}/openapi.json", timeout=10) as answer:
        same(answer.headers["content-type"], "application/json")
        return json.load(answer)


@claim
def the_document_is_valid_openapi_3_1():
    description = document()
    same(description["openapi"][:4], "3.1.")
    errors = [f"{list(error.absolute_path)}: {error.message}" for error in OpenAPIV31SpecValidator(description).iter_errors()]
    same(errors, [])


@claim
def every_operation_says_how_it_can_fail():
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            assert {"400", "401", "403", "429", "431", "500", "503"} <= statuses, (method, path, statuses)
            assert statuses & {"200", "201"}, (method, path, statuses)


@claim
def an_answer_always_has_its_times():
    schemas = document()["components"]["schemas"]
    same(schemas["GetTransactionResponse"]["required"], ["chargeDate", "currency", "amount", "message", "status"])
    assert "chargeDate" in schemas["Transaction"]["required"]
    replayed = document()["paths"]["/transaction"]["post"]["responses"]["200"]["headers"]
    assert "Idempotency-Replayed" in replayed, replayed


@claim
def schemathesis_finds_no_fault():
    with tempfile.TemporaryDirectory() as folder:
        command = [os.path.join(os.path.dirname(sys.executable), "st"), "run", f"http://{ADDRESS}/openapi.json"]
        command += ["-H", f"X-API-KEY: {KEY}", "-c", "all", "--exclude-checks", "positive_data_acceptance"]
        command += ["--seed", SEED, "-n", EXAMPLES, "--continue-on-failure", "--suppress-health-check", "all"]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        print(done.stdout[-20_000:], done.stderr[-5_000:], sep="\n")
    same(done.returncode, 0, "exit code of schemathesis")
    tested = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert tested and len(set(tested.groups())) == 1, "not every operation was tested"
    print(re.search(r"\d+ generated.*", done.stdout).group(0))


if __name__ == "__main__":
    run_claims("OpenAPI")
