"""The client samples of deploy/clients/, run as a newcomer would, against a gateway that loses answers.

Invariant: the samples are not changed for this. Between each and the gateway stands a proxy that can refuse a call, or
have it done and lose its answer; what was done is read from the CSP's bill and the phone, past the proxy.
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent import futures

import grpc
import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from claims import ADDRESS, KEY, claim, name, number, run_claims, same

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "deploy/clients"
MODULES = pathlib.Path(os.environ["ONBILL_NODE_MODULES"]).parent
STUBS = tempfile.mkdtemp(prefix="onbill-samples-")
PATIENCE_S = 120

# What a sample does with a call, in turn; what comes after the list goes through.
DOWN, LOST = "down", "lost"
# A refusal, a lost answer and another refusal: three repeats of the one request.
TROUBLE = [DOWN, LOST, DOWN]


class Plan:
    """What befalls which calls, and which calls there were."""

    def __init__(self, **trouble):
        self.trouble = {verb: list(steps) for verb, steps in trouble.items()}
        self.calls = []
        self.lock = threading.Lock()

    def take(self, verb, body):
        """What befalls this call."""
        with self.lock:
            self.calls.append((verb, body))
            steps = self.trouble.get(verb)
            return steps.pop(0) if steps else None

    def bodies(self, verb):
        """What was sent under a verb."""
        return [body for called, body in self.calls if called == verb]


class JsonProxy:
    """Passes HTTP on, but for what the plan says."""

    verbs = {"/transaction": "charge", "/notification": "notify", "/account/validate": "account"}

    def __init__(self, plan):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                proxy.pass_on(self, plan)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pass_on(self, handler, plan):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        verb = self.verbs.get(handler.path, handler.path.split("?")[0])
        if verb == "charge" and json.loads(body).get("referenceId"):
            verb = "refund"
        step = plan.take(verb, body)
        if step == DOWN:
            return self.answer(handler, 503, [("Retry-After", "1")], b'{"code":"service-unavailable"}')
        gateway = http.client.HTTPConnection(ADDRESS, timeout=PATIENCE_S)
        kept = {key: value for key, value in handler.headers.items() if key.lower() not in ("host", "connection")}
        gateway.request(handler.command, handler.path, body, kept)
        answer = gateway.getresponse()
        text = answer.read()
        gateway.close()
        if step == LOST:
            handler.close_connection = True
            return None
        kept = [(key, value) for key, value in answer.getheaders() if key.lower() in ("retry-after", "content-type")]
        return self.answer(handler, answer.status, kept, text)

    def answer(self, handler, status, headers, body):
        handler.send_response(status)
        for key, value in headers + [("Content-Length", str(len(body)))]:
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class GrpcProxy(grpc.GenericRpcHandler):
    """Passes gRPC on as bytes, but for what the plan says."""

    verbs = {"CreateTransaction": "charge", "SendNotification": "notify", "ValidateAccount": "account"}

    def __init__(self, plan):
        self.plan = plan
        self.channel = grpc.insecure_channel(ADDRESS)
        self.server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        method = details.method
        if method.endswith("/WatchTransaction"):
            return grpc.unary_stream_rpc_method_handler(lambda body, call: self.stream(method, body, call))
        return grpc.unary_unary_rpc_method_handler(lambda body, call: self.unary(method, body, call))

    def unary(self, method, body, call):
        verb = self.verbs.get(method.rsplit("/", 1)[1], method)
        # The refund's id is the order's and a word, which stands in the message as it is.
        if verb == "charge" and b"-refund" in body:
            verb = "refund"
        step = self.plan.take(verb, body)
        if step == DOWN:
            call.abort(grpc.StatusCode.UNAVAILABLE, "on order")
        try:
            answer = self.channel.unary_unary(method)(body, metadata=kept(call), timeout=PATIENCE_S)
        except grpc.RpcError as error:
            call.abort(error.code(), error.details())
        if step == LOST:
            call.abort(grpc.StatusCode.UNAVAILABLE, "lost on order")
        return answer

    def stream(self, method, body, call):
        self.plan.take("watch", body)
        # The first stream breaks after the first message: a client has to watch again.
        breaks = len(self.plan.bodies("watch")) == 1
        for message in self.channel.unary_stream(method)(body, metadata=kept(call), timeout=PATIENCE_S):
            yield message
            if breaks:
                call.abort(grpc.StatusCode.UNAVAILABLE, "broken on order")

    def stop(self):
        self.server.stop(None).wait()
        self.channel.close()


def kept(call):
    """The metadata that is the caller's."""
    return [(key, value) for key, value in call.invocation_metadata() if key.startswith("x-")]


SAMPLES = {
    "curl": (["sh", CLIENTS / "curl/purchase.sh"], JsonProxy),
    "python": ([sys.executable, CLIENTS / "python/purchase.py"], JsonProxy),
    "node": (["node", CLIENTS / "node/purchase.mjs"], JsonProxy),
    "python-grpc": ([sys.executable, CLIENTS / "python/purchase_grpc.py"], GrpcProxy),
    "node-grpc": (["node", CLIENTS / "node/purchase-grpc.mjs"], GrpcProxy),
}


def run(sample, msisdn, order, **trouble):
    """Runs a sample through a proxy: its exit code, what it said, and the calls that the proxy saw."""
    command, proxy_kind = SAMPLES[sample]
    plan = Plan(**trouble)
    proxy = proxy_kind(plan)
    here = {"ONBILL_URL": f"http://{proxy.address}", "ONBILL_ADDRESS": proxy.address, "PYTHONPATH": STUBS}
    try:
        done = subprocess.run(
            [*command, msisdn, order],
            cwd=MODULES,
            env={**os.environ, **here, "GRPC_VERBOSITY": "ERROR"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    finally:
        proxy.stop()
    return done.returncode, done.stdout + done.stderr, plan


def ask(path):
    """What the gateway says, past every proxy."""
    request = urllib.request.Request(f"http://{ADDRESS}{path}", headers={"X-API-KEY": KEY})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def amounts(msisdn):
    """The lines of the CSP's bill."""
    return [line["amount"] for line in ask(f"/sandbox/bill?address={msisdn}")["lines"]]


def texts(msisdn):
    """The texts on the phone that are no PINs."""
    messages = ask(f"/sandbox/messages?address={msisdn}")["messages"]
    return [message["text"] for message in messages if "given back" in message["text"]]


def each_sample(check):
    """Runs a check for all samples at once: most of their time is waiting."""
    with futures.ThreadPoolExecutor(len(SAMPLES)) as pool:
        for done in [pool.submit(check, sample) for sample in SAMPLES]:
            done.result()


def is_one_request(plan, verb, sample, count):
    """Whether what was sent under a verb was sent so often, and was the same each time."""
    bodies = plan.bodies(verb)
    same((len(bodies), len(set(bodies))), (count, 1), f"{sample}: {verb}")


@claim
def a_purchase_is_charged_refunded_and_told_once_whatever_gets_lost():
    def check(sample):
        msisdn, order = number("01"), name(f"order-{sample}")
        code, said, plan = run(sample, msisdn, order, charge=TROUBLE, refund=[LOST], notify=[LOST, DOWN])
        same(code, 0, f"{sample}: {said}")
        is_one_request(plan, "charge", sample, 4)
        is_one_request(plan, "refund", sample, 2)
        is_one_request(plan, "notify", sample, 3)
        same(amounts(msisdn), ["9.99", "-9.99"], sample)
        same(len(texts(msisdn)), 1, sample)
        assert f"refund {order}-refund: Success" in said, said
        # Run again under the same order: the same answers, and nothing more is done.
        code, said, _ = run(sample, msisdn, order)
        same((code, len(amounts(msisdn)), len(texts(msisdn))), (0, 2, 1), f"{sample}: {said}")

    each_sample(check)


@claim
def pending_is_asked_about_and_never_charged_again():
    def check(sample):
        for condition, code, lines in [("11", 0, ["9.99", "-9.99"]), ("12", 2, [])]:
            msisdn, order = number(condition), name(f"pending-{sample}")
            ended, said, plan = run(sample, msisdn, order)
            same((ended, amounts(msisdn)), (code, lines), f"{sample}, condition {condition}: {said}")
            is_one_request(plan, "charge", sample, 1)
            assert "Pending" in said, said
            if "grpc" in sample and condition == "11":
                assert len(plan.bodies("watch")) >= 2, "a stream that broke is begun again"

    each_sample(check)


@claim
def a_passing_fault_of_the_csp_is_charged_once():
    def check(sample):
        msisdn, order = number("14"), name(f"transient-{sample}")
        code, said, plan = run(sample, msisdn, order)
        same((code, amounts(msisdn)), (0, ["9.99", "-9.99"]), f"{sample}: {said}")
        same(len(set(plan.bodies("charge"))), 1, sample)

    each_sample(check)


@claim
def a_csp_that_cannot_be_reached_ends_in_doubt_after_five_attempts_under_one_id():
    def check(sample):
        msisdn, order = number("15"), name(f"away-{sample}")
        code, said, plan = run(sample, msisdn, order)
        same((code, amounts(msisdn)), (75, []), f"{sample}: {said}")
        is_one_request(plan, "charge", sample, 5)
        assert order in said, "it says under which order to come back"

    each_sample(check)


@claim
def a_refusal_is_not_repeated():
    def check(sample):
        for condition in ("02", "03", "99"):
            code, said, plan = run(sample, number(condition), name("refused"))
            same(code, 1, f"{sample}: {said}")
            same(len(plan.calls), 1, sample)

    each_sample(check)


@claim
def the_service_config_names_every_method_that_answers_once():
    files = tempfile.NamedTemporaryFile(suffix=".pb")
    protos = [str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/onbill/v1").glob("*.proto")]
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    same(protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"-o{files.name}", *sorted(protos)]), 0)
    found = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(files.name).read_bytes())
    unary = {
        (f"{file.package}.{service.name}", method.name)
        for file in found.file
        for service in file.service
        for method in service.method
        # What only a sandbox has is no matter of a shop.
        if not method.server_streaming and service.name not in ("SandboxService", "CertificationService")
    }
    [policy] = json.loads((CLIENTS / "service-config.json").read_text())["methodConfig"]
    same({(each["service"], each["method"]) for each in policy["name"]}, unary)
    same(policy["retryPolicy"]["retryableStatusCodes"], ["UNAVAILABLE"])


SECRETS = ["whsec_" + base64.b64encode(bytes([fill]) * 32).decode() for fill in (1, 2)]


def posted(port, body, headers):
    """The status that a receiver answers with."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def signed(secret, body, event_id="evt_1", sent_at=None):
    """Headers as Standard Webhooks 1.0 describes them, made here a second time."""
    sent_at = str(int(time.time()) if sent_at is None else sent_at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": event_id, "webhook-timestamp": sent_at, "webhook-signature": signature}


def receives(command):
    """Holds a receiver against forgeries, and then lets a gateway post to it."""
    environment = {**os.environ, "WEBHOOK_SECRETS": ",".join(SECRETS), "PYTHONUNBUFFERED": "1"}
    receiver = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True, env=environment)
    # Whoever waits for a line that never comes is let go.
    patience = threading.Timer(PATIENCE_S, receiver.kill)
    patience.start()
    try:
        port = int(receiver.stdout.readline().rsplit(" ", 1)[1])
        about = {"extTransactionId": "a", "status": "Success"}
        body = json.dumps({"id": "evt_1", "type": "t", "data": about}).encode()
        good = signed(SECRETS[1], body)
        stranger = "whsec_" + base64.b64encode(bytes(32)).decode()
        now = int(time.time())
        for what, headers, sent in [
            ("by nobody", {}, body),
            ("by a stranger", signed(stranger, body), body),
            ("of another body", good, body + b" "),
            ("of another event", {**good, "webhook-id": "evt_2"}, body),
            ("of another time", {**good, "webhook-timestamp": str(now + 1)}, body),
            ("an hour ago", signed(SECRETS[0], body, sent_at=now - 3600), body),
            ("in an hour", signed(SECRETS[0], body, sent_at=now + 3600), body),
            ("at no time", {**good, "webhook-timestamp": "soon"}, body),
            ("in another scheme", {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")}, body),
            ("with half a signature", {**good, "webhook-signature": good["webhook-signature"][:20]}, body),
        ]:
            same(posted(port, sent, headers), 401, f"signed {what}")
        several = {**good, "webhook-signature": "v1a,x " + signed(stranger, body)["webhook-signature"] + " " + good["webhook-signature"]}
        for headers in (good, several, good):
            same(posted(port, body, headers), 204)
        same(receiver.stdout.readline().strip(), "t a Success")
        order = name("event")
        posts_an_event(receiver, port, order)
    finally:
        patience.cancel()
        receiver.kill()
        receiver.wait()


def posts_an_event(receiver, port, order):
    """Has a gateway of its own post an event to a receiver."""
    webhook = {"URL": f"http://127.0.0.1:{port}/", "SECRETS": ",".join(SECRETS[:1]), "ALLOW_PRIVATE": "true"}
    environment = {f"ONBILL__PARTNER__DEMO_OTT__WEBHOOK__{key}": value for key, value in webhook.items()}
    with tempfile.TemporaryDirectory() as directory:
        gateway = subprocess.Popen(
            ["onbill", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            address = next(line for line in gateway.stdout if "gRPC and JSON" in line).rsplit("http://", 1)[1].strip()
            who = {"type": "MSISDN", "address": number("01"), "partnerProduct": "ott-basic"}
            body = json.dumps({**who, "extTransactionId": order, "amount": "9.99", "currency": "MXN"}).encode()
            headers = {"X-API-KEY": KEY, "Content-Type": "application/json"}
            request = urllib.request.Request(f"http://{address}/transaction", body, headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                same(json.loads(answer.read())["status"], "Success")
            same(receiver.stdout.readline().strip(), f"onbill.transaction.succeeded.v1 {order} Success", "once, and then this")
        finally:
            gateway.terminate()
            gateway.wait()


@claim
def the_python_receiver_takes_what_is_signed_and_nothing_else():
    receives([sys.executable, str(CLIENTS / "python/webhook.py")])


@claim
def the_node_receiver_takes_what_is_signed_and_nothing_else():
    receives(["node", str(CLIENTS / "node/webhook.mjs")])


def make_stubs():
    """Compiles the protos as the sample's first lines say."""
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path) for path in (ROOT / "proto/onbill/v1").glob("*.proto")]
    outs = [f"--python_out={STUBS}", f"--grpc_python_out={STUBS}"]
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", *outs, *sorted(files)]) != 0:
        sys.exit("the protos do not compile")


if __name__ == "__main__":
    make_stubs()
    run_claims("samples")
