"""The 28 certified cases with curl, byte for byte, over HTTP/1.1 and over HTTP/2 without an upgrade.

Invariant: the expected bodies stand here a second time, typed from the contract and not read from the catalogue or the
cases of this repository, so that a slip there is not copied.
"""

import json
import subprocess
import tempfile

from claims import ADDRESS, KEY, claim, name, number, run_claims, same

NOT_FOUND = '{"code":"account-not-found","message":"Account not found"}'
PIN_WRONG = '{"code":"invalid-pin","message":"Invalid pin"}'


def invalid(*violations, message="Invalid request."):
    """The body of an invalid request."""
    listed = ",".join(f'{{"code":"{code}","reason":{json.dumps(reason)}}}' for code, reason in violations)
    return f'{{"code":"invalid-request","message":"{message}","validationErrors":[{listed}]}}'


class Curl:
    """curl over one version of HTTP."""

    def __init__(self, version):
        self.version = version

    def call(self, method, path, body=None, *more):
        """Status, headers in lower case, and the body as text."""
        with tempfile.NamedTemporaryFile("r") as headers:
            command = ["curl", "-sS", self.version, "--max-time", "20", "-X", method, f"http://{ADDRESS}{path}"]
            command += ["-H", f"X-API-KEY: {KEY}", "-D", headers.name, *more]
            if body is not None:
                text = body if isinstance(body, str) else json.dumps(body)
                command += ["-H", "Content-Type: application/json", "--data-binary", text]
            done = subprocess.run(command, capture_output=True, check=True)
            lines = headers.read().splitlines()
        heads = [index for index, line in enumerate(lines) if line.startswith("HTTP/")]
        last = lines[heads[-1] :]
        fields = dict(line.lower().split(": ", 1) for line in last[1:] if ": " in line)
        return int(last[0].split()[1]), fields, done.stdout.decode()

    def expect(self, method, path, body, status, text):
        """Calls, and fails unless status and body are these; answers the headers."""
        got, headers, answer = self.call(method, path, body)
        same((got, answer), (status, text), f"{method} {path} {body}")
        if status == 201:
            same(headers.get("content-length"), "0", "content-length of a 201")
            assert "content-type" not in headers, headers
        else:
            same(headers.get("content-type"), "application/json")
            same(headers.get("content-length"), str(len(answer.encode())))
        assert headers.get("x-correlation-id"), headers
        return headers


def msisdn(digits, **more):
    """The fields that name a subscriber."""
    return {"type": "MSISDN", "address": digits, **more}


def charge(digits, reference, amount="9.99", **more):
    """A charge for the basic product."""
    named = msisdn(digits, extTransactionId=reference)
    return {**named, "partnerProduct": "ott-basic", "amount": amount, "currency": "MXN", **more}


def success(reference):
    """What a charge or refund answers."""
    return f'{{"extTransactionId":"{reference}","status":"Success","description":"Charge success"}}'


def bill_lines(curl, digits):
    """How many lines the CSP's bill has."""
    status, _, text = curl.call("GET", f"/sandbox/bill?address={digits}")
    same(status, 200)
    return len(json.loads(text)["lines"])


def inbox(curl, digits):
    """The texts that the subscriber has got."""
    status, _, text = curl.call("GET", f"/sandbox/messages?address={digits}")
    same(status, 200)
    return [message["text"] for message in json.loads(text)["messages"]]


def accounts(curl):
    """Cases 1 to 7."""
    path = "/account/validate"
    headers = curl.expect("POST", path, msisdn(number("01")), 200, '{"status":"ACTIVE","type":"postpaid"}')
    assert headers["x-account-id"]
    for condition, status, text in [
        ("06", 200, '{"status":"ACTIVE","type":"prepaid"}'),
        ("02", 404, NOT_FOUND),
        (
            "03",
            400,
            '{"code":"suspended-non-payment",'
            '"message":"Account is suspended because of non-payment, or other billing issue"}',
        ),
        ("04", 400, '{"code":"suspended-lost-stolen","message":"Account is suspended because of lost phone"}'),
        (
            "05",
            400,
            '{"code":"eligibility-failed csp",'
            '"message":"You are not eligible to subscribe to this service based on rules set by your CSP"}',
        ),
        ("99", 404, NOT_FOUND),
    ]:
        curl.expect("POST", path, msisdn(number(condition)), status, text)
    refused = invalid(("violation-on-address", 'must match "^[0-9]{10}$"'))
    curl.expect("POST", path, msisdn("abc"), 400, refused)
    # The certified text itself, with its escapes as the page shows them.
    same(
        refused,
        '{"code":"invalid-request","message":"Invalid request.","validationErrors":'
        '[{"code":"violation-on-address","reason":"must match \\"^[0-9]{10}$\\""}]}',
    )


def pins(curl):
    """Cases 8 to 13."""
    digits = number("01")
    curl.expect("POST", "/pin", msisdn(digits), 201, "")
    same(len(inbox(curl, digits)), 1)
    curl.expect("POST", "/pin", msisdn(number("98")), 404, NOT_FOUND)
    words = [word.strip(".,:;") for word in inbox(curl, digits)[0].split()]
    pin = next(word for word in words if len(word) == 6 and word.isdigit())
    wrong = "000000" if pin != "000000" else "111111"
    curl.expect("POST", "/pin/validation", msisdn(digits, pin=wrong), 400, PIN_WRONG)
    curl.expect("POST", "/pin/validation", msisdn(digits, pin=pin), 201, "")
    status, _, text = curl.call("POST", "/sandbox/clock/advance", {"seconds": 301})
    same(status, 200, text)
    curl.expect("POST", "/pin/validation", msisdn(digits, pin=pin), 400, PIN_WRONG)


def charges(curl):
    """Cases 14 to 18."""
    digits, reference = number("01"), name("charge")
    curl.expect("POST", "/transaction", charge(digits, reference), 200, success(reference))
    headers = curl.expect("POST", "/transaction", charge(digits, reference), 200, success(reference))
    same(headers.get("idempotency-replayed"), "true")
    same(bill_lines(curl, digits), 1)
    by_account = charge(digits, name("account"), accountId="acc_unknown")
    curl.expect("POST", "/transaction", by_account, 404, NOT_FOUND)
    for currency in ("mxn", "MX", "MXNN", "12"):
        malformed = charge(digits, name("currency"), currency=currency)
        refused = invalid(("violation-on-currency", 'must match "^[A-Z]{3}$"'), message="Invalid request")
        curl.expect("POST", "/transaction", malformed, 400, refused)
    product = charge(digits, name("product"), partnerProduct="ott-none")
    text = '{"code":"invalid-partner-product","message":"Product not defined"}'
    curl.expect("POST", "/transaction", product, 400, text)
    same(bill_lines(curl, digits), 1)


def refunds(curl):
    """Cases 19 to 23."""
    digits, reference = number("01"), name("refund")
    curl.expect("POST", "/transaction", charge(digits, reference), 200, success(reference))
    back = charge(digits, reference, "-9.99")
    curl.expect("POST", "/transaction", back, 200, success(reference))
    headers = curl.expect("POST", "/transaction", back, 200, success(reference))
    same(headers.get("idempotency-replayed"), "true")
    same(bill_lines(curl, digits), 2)
    text = '{"code":"invalid-charge-refund","message":"Original transaction not found"}'
    curl.expect("POST", "/transaction", charge(digits, name("none"), "-9.99"), 404, text)
    required = invalid(("reference-id-required", "Reference Id is required to proceed refund transaction"))
    for botched in (
        charge(digits, "", "-9.99"),
        charge(digits, None, "-9.99"),
        charge(digits, name("empty"), referenceId=""),
    ):
        curl.expect("POST", "/transaction", botched, 400, required)
    negative = ("negative-amount", "Negative Amount is required to proceed refund transaction")
    positive = charge(digits, name("positive"), referenceId=reference)
    curl.expect("POST", "/transaction", positive, 400, invalid(negative, message="Invalid request"))
    same(bill_lines(curl, digits), 2)


def status(curl):
    """Cases 24 and 25."""
    digits, reference = number("07"), name("limit")
    body = charge(digits, reference, "1500")
    failed = f'{{"extTransactionId":"{reference}","status":"Failure","description":"Over spending daily limit"}}'
    curl.expect("POST", "/transaction", body, 200, failed)
    got, _, text = curl.call("GET", f"/transaction/{reference}")
    date = json.loads(text)["chargeDate"]
    same(len(date), len("2020-05-18T15:05:03Z"))
    rest = '"currency":"MXN","amount":"1500.0","message":"Over spending daily limit","status":"Failure"}'
    same((got, text), (200, f'{{"chargeDate":"{date}",{rest}'))
    text = '{"code":"transaction-not-found","message":"Transaction not found"}'
    for path in (name("none"), "a%20b", "%ff", "%zz", "a" * 65, "%C3%A9"):
        curl.expect("GET", f"/transaction/{path}", None, 404, text)


def notifications(curl):
    """Cases 26 to 28."""
    digits = number("01")
    curl.expect("POST", "/notification", msisdn(digits, message="Gracias ñ 🎬"), 201, "")
    same(inbox(curl, digits), ["Gracias ñ 🎬"])
    missing = invalid(("violation-on-message", "must not be null"))
    curl.expect("POST", "/notification", msisdn(digits), 400, missing)
    other = {"type": "IMSI", "address": digits, "message": "hello"}
    curl.expect("POST", "/notification", other, 400, invalid(("violation-on-type", "type must be MSISDN")))
    same(len(inbox(curl, digits)), 1)


def lists(curl):
    """The listing: keys in order, empty ones printed."""
    digits, reference = number("01"), name("listed")
    curl.expect("POST", "/transaction", charge(digits, reference), 200, success(reference))
    account = account_id(curl, digits)
    got, _, text = curl.call("GET", f"/transactions?accountId={account}&pageToken=&status=&kindless")
    same((got, text), (400, invalid(("violation-on-kindless", "unknown field"))))
    got, _, text = curl.call("GET", f"/transactions?accountId={account}&pageToken=&status=&pageSize=&since=&until=")
    date = json.loads(text)["transactions"][0]["chargeDate"]
    same(
        text,
        f'{{"transactions":[{{"extTransactionId":"{reference}","kind":"charge","chargeDate":"{date}","currency":"MXN",'
        '"amount":"9.99","refundedAmount":"0.0","message":"Charge success","status":"Success",'
        '"partnerProduct":"ott-basic"}],"nextPageToken":""}',
    )
    empty = account_id(curl, number("01"))
    same(curl.call("GET", f"/transactions?accountId={empty}")[2], '{"transactions":[],"nextPageToken":""}')


def account_id(curl, digits):
    """The account of a number, as the header says it, in its own case."""
    command = ["curl", "-sS", curl.version, "-o", "/dev/null", "-w", "%header{x-account-id}"]
    command += [f"http://{ADDRESS}/account/validate", "-H", f"X-API-KEY: {KEY}", "-H", "Content-Type: application/json"]
    command += ["--data-binary", json.dumps(msisdn(digits))]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def refusals(curl):
    """Keys, paths and methods."""
    unauthorized = '{"code":"authorization-failure","message":"Not authorized."}'
    # curl sends both headers of one name: two keys are no key.
    for key in ("X-API-KEY: guess", "X-API-KEY;", "X-API-KEY: other-key"):
        got, headers, text = curl.call("POST", "/pin", msisdn(number("01")), "-H", key)
        same((got, text), (401, unauthorized), key)
        assert headers["www-authenticate"], headers
    got, _, text = curl.call("POST", "/pins", {})
    same((got, text), (404, '{"code":"not-found","message":"Not found."}'))
    for method, path, allow in [("GET", "/pin", "POST"), ("PATCH", "/transactions", "GET"), ("OPTIONS", "/pin", "POST")]:
        got, headers, text = curl.call(method, path)
        same((got, text), (405, '{"code":"method-not-allowed","message":"Method not allowed."}'), f"{method} {path}")
        assert allow.lower() in headers["allow"], headers


GROUPS = [accounts, pins, charges, refunds, status, notifications, lists, refusals]
for title, flag in [("HTTP/1.1", "--http1.1"), ("h2c", "--http2-prior-knowledge")]:
    for group in GROUPS:

        def over(group=group, curl=Curl(flag)):
            group(curl)

        over.__name__ = f"{group.__doc__.rstrip('.')} over {title}"
        claim(over)

if __name__ == "__main__":
    run_claims("curl")
