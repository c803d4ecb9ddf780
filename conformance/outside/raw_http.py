"""Bytes that no well-behaved client sends, or only few do, straight into the socket.

Invariant: each of them is answered with the contract's words or by a clean end of the connection, never with a 5xx,
never by silence, and the gateway answers the next caller. Bodies, framing and header lines are written out, so that no
client library can mend them.
"""

import gzip
import json
import socket

from claims import ADDRESS, KEY, claim, name, number, run_claims, same

HOST, PORT = ADDRESS.rsplit(":", 1)
BODY_OBJECT = "must be a JSON object of at most 65536 bytes"


def exchange(data, until_closed=False, patience=15):
    """Sends bytes and reads until the first whole answer, or until the gateway closes."""
    with socket.create_connection((HOST, int(PORT)), timeout=patience) as connection:
        connection.sendall(data)
        return receive(connection, until_closed)


def receive(connection, until_closed=False):
    """What comes back on a connection."""
    received = b""
    while until_closed or not whole(received):
        part = connection.recv(65536)
        if not part:
            break
        received += part
    return received


def whole(received):
    """Is there one whole answer?"""
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return False
    _, headers = parse_head(head)
    if b"chunked" in headers.get("transfer-encoding", "").encode():
        return rest.endswith(b"0\r\n\r\n")
    return len(rest) >= int(headers.get("content-length", "0"))


def parse_head(head):
    """Status and headers."""
    lines = head.decode("latin1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        key, _, value = line.partition(":")
        fields[key.lower()] = value.strip()
    return int(lines[0].split()[1]), fields


def parse(received):
    """Status, headers and body of one answer."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, headers = parse_head(head)
    return status, headers, body.decode()


def request(method, path, body=b"", headers=(), version="HTTP/1.1", typed="application/json"):
    """The bytes of a request."""
    lines = [f"{method} {path} {version}", f"Host: {ADDRESS}", f"X-API-KEY: {KEY}"]
    if typed and body:
        lines.append(f"Content-Type: {typed}")
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    lines += headers
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + body


def subscriber(**more):
    """A body that is right for POST /pin."""
    return json.dumps({"type": "MSISDN", "address": number("01"), **more}).encode()


def refused_with(answer, *violations):
    """Fails unless the answer is an invalid request with these violations."""
    status, headers, body = answer
    assert status == 400, answer
    same(headers["content-type"], "application/json")
    listed = [(each["code"], each["reason"]) for each in json.loads(body)["validationErrors"]]
    same(listed, list(violations))


def alive():
    """Fails unless the gateway still answers."""
    status, _, body = parse(exchange(request("POST", "/account/validate", subscriber())))
    same((status, body), (200, '{"status":"ACTIVE","type":"postpaid"}'))


@claim
def created_has_no_body_and_says_so():
    status, headers, body = parse(exchange(request("POST", "/pin", subscriber())))
    same((status, body, headers["content-length"]), (201, "", "0"))
    assert "content-type" not in headers and "transfer-encoding" not in headers, headers
    assert not any(key.startswith("grpc-") or key in ("te", "trailer") for key in headers), headers


@claim
def head_and_options_are_not_methods_of_ours():
    for method in ("HEAD", "OPTIONS", "TRACE", "DELETE", "PURGE", "get"):
        status, headers, body = parse(exchange(request(method, "/transactions", headers=["Connection: close"]), True))
        same((status, headers.get("allow")), (405, "GET"), method)
        same(body == "", method == "HEAD", method)
    status, headers, _ = parse(exchange(request("HEAD", "/openapi.json", headers=["Connection: close"]), True))
    same((status, headers.get("allow")), (405, "GET"))
    status, _, body = parse(exchange(request("OPTIONS", "*", headers=["Connection: close"]), True))
    same((status, body), (404, '{"code":"not-found","message":"Not found."}'))


@claim
def the_description_is_json():
    status, headers, body = parse(exchange(f"GET /openapi.json HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode()))
    same((status, headers["content-type"]), (200, "application/json"))
    same(json.loads(body)["openapi"][:3], "3.1")


@claim
def chunked_bodies_are_bodies():
    body = subscriber()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:3], body[3:4], body[4:]))
    sent = request("POST", "/pin", chunks + b"0\r\n\r\n", ["Transfer-Encoding: chunked"])
    same(parse(exchange(sent))[0], 201)
    trailed = request("POST", "/pin", chunks + b"0\r\nX-API-KEY: guess\r\n\r\n", ["Transfer-Encoding: chunked"])
    same(parse(exchange(trailed))[0], 201)
    large = b"%x\r\n%s\r\n0\r\n\r\n" % (70_000, b" " * 70_000)
    refused_with(
        parse(exchange(request("POST", "/pin", large, ["Transfer-Encoding: chunked"]))),
        ("violation-on-body", BODY_OBJECT),
    )


@claim
def broken_framing_ends_the_connection_and_nothing_else():
    body = subscriber()
    for broken in (
        request("POST", "/pin", b"zz\r\n", ["Transfer-Encoding: chunked"]),
        request("POST", "/pin", body, ["Content-Length: 10", "Content-Length: 20"]),
        request("POST", "/pin", body, ["Content-Length: -1"]),
        request("POST", "/pin", body, [f"Content-Length: {2**70}"]),
        request("POST", "/pin", body, ["Transfer-Encoding: gzip"]),
        request("POST", "/pin", body, ["X Y: space in a name"]),
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /openapi.json\r\n\r\n",
        b"GET /openapi.json HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"POST /pin HTTP/1.1\r\nHost: a\r\n" + b"X-Many: 1\r\n" * 5000 + b"\r\n",
    ):
        try:
            received = exchange(broken, until_closed=True)
        except ConnectionResetError:
            received = b""
        if received.startswith(b"HTTP/1"):
            status = parse_head(received.partition(b"\r\n\r\n")[0])[0]
            assert 400 <= status < 500, received
    alive()


@claim
def both_lengths_at_once_cannot_smuggle_a_request():
    hidden = request("POST", "/pin", subscriber())
    body = b"0\r\n\r\n" + hidden
    sent = request("POST", "/pin", body, ["Transfer-Encoding: chunked", f"Content-Length: {len(body)}"])
    try:
        received = exchange(sent + b"", until_closed=False)
    except ConnectionResetError:
        received = b""
    assert received.count(b"HTTP/1.1 201") == 0, received


@claim
def who_expects_to_continue_is_told_to_or_refused_at_once():
    body = subscriber()
    with socket.create_connection((HOST, int(PORT)), timeout=15) as connection:
        head = request("POST", "/pin", b"", [f"Content-Length: {len(body)}", "Expect: 100-continue"])
        connection.sendall(head.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n"))
        interim = connection.recv(1000)
        assert interim.startswith(b"HTTP/1.1 100"), interim
        connection.sendall(body)
        same(parse(receive(connection))[0], 201)
    head = request("POST", "/pin", b"", ["Content-Length: 5000000", "Expect: 100-continue"])
    sent = head.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n")
    refused_with(parse(exchange(sent)), ("violation-on-body", BODY_OBJECT))


@claim
def http_1_0_is_answered_and_closed():
    received = exchange(request("POST", "/pin", subscriber(), version="HTTP/1.0"), until_closed=True)
    status, headers, body = parse(received)
    same((status, body, headers.get("content-length")), (201, "", "0"))
    without_host = f"GET /transaction/none HTTP/1.0\r\nX-API-KEY: {KEY}\r\n\r\n".encode()
    same(parse(exchange(without_host, True))[0], 404)


@claim
def pipelined_requests_are_answered_in_order():
    paths = ["/transaction/none", "/nothing", "/transactions?pageSize=0", "/transaction/none"]
    sent = b"".join(request("GET", path) for path in paths[:-1])
    sent += request("GET", paths[-1], headers=["Connection: close"])
    received = exchange(sent, until_closed=True)
    statuses = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    same(statuses, [404, 404, 400, 404])


@claim
def packed_bodies_are_refused_and_not_misread():
    body = subscriber()
    for encoding, sent in (("gzip", gzip.compress(body)), ("br", body), ("gzip, gzip", body), ("identity", body)):
        status, headers, text = parse(exchange(request("POST", "/pin", sent, [f"Content-Encoding: {encoding}"])))
        if encoding == "identity":
            same(status, 201, encoding)
        else:
            assert status == 400 and "invalid-request" in text, (encoding, status, text)
            refused_with((status, headers, text), ("violation-on-body", "must be application/json"))


@claim
def many_unknown_fields_are_listed_within_a_bound():
    body = json.dumps({"type": "MSISDN", **{f"f{index}": 1 for index in range(5000)}}).encode()
    assert len(body) < 65_536
    status, _, text = parse(exchange(request("POST", "/pin", body)))
    listed = json.loads(text)["validationErrors"]
    same((status, listed[0]), (400, {"code": "violation-on-address", "reason": "must not be null"}))
    same(listed[1], {"code": "violation-on-f0", "reason": "unknown field"})
    assert len(text) < 20_000, len(text)
    long = json.dumps({"type": "MSISDN", "address": number("01"), "x" * 60_000: 1}).encode()
    status, _, text = parse(exchange(request("POST", "/pin", long)))
    same(status, 400)
    assert len(text) < 20_000, len(text)


@claim
def names_of_fields_cannot_break_out_of_the_answer():
    for field in ('"', "\\", "\n", "\u0000", "\u202e", "é", "x" * 300, "", "a.b", "violation-on-type"):
        body = json.dumps({"type": "MSISDN", "address": number("01"), field: 1}).encode()
        status, _, text = parse(exchange(request("POST", "/pin", body)))
        same(status, 400, field)
        (listed,) = json.loads(text)["validationErrors"]
        same(listed["reason"], "unknown field", field)
    status, headers, text = parse(exchange(request("GET", "/transactions?%0d%0aSet-Cookie:%20a=b&a%00=1")))
    same(status, 400)
    assert "set-cookie" not in headers, headers


@claim
def large_headers_are_refused_or_carried():
    for size, expected in ((100, (201,)), (8_000, (201,)), (2_000_000, (431, 400))):
        sent = request("POST", "/pin", subscriber(), [f"X-Large: {'a' * size}"])
        try:
            received = exchange(sent)
        except (ConnectionResetError, BrokenPipeError):
            received = b""
        if received:
            assert parse(received)[0] in expected, received[:300]
        else:
            assert size == 2_000_000, size
    status, headers, _ = parse(exchange(request("POST", "/pin", subscriber(), ["X-Correlation-Id: " + "a" * 129])))
    same(status, 201)
    assert headers["x-correlation-id"] != "a" * 129
    for wrong in ("a b", "a,b", "é", "<x>"):
        _, headers, _ = parse(exchange(request("POST", "/pin", subscriber(), [f"X-Correlation-Id: {wrong}"])))
        assert headers["x-correlation-id"] != wrong, wrong
    alive()


@claim
def query_parameters_come_once_or_are_refused():
    for query, violations in (
        ("pageSize=1&pageSize=2", [("violation-on-pageSize", "duplicate field")]),
        ("status=&status=", [("violation-on-status", "duplicate field")]),
        ("page_size=1", [("violation-on-page_size", "unknown field")]),
        ("pageSize=1.5", [("violation-on-pageSize", "must be between 1 and 500")]),
        ("pageSize=501", [("violation-on-pageSize", "must be between 1 and 500")]),
        ("pageSize=%31%30%30%30", [("violation-on-pageSize", "must be between 1 and 500")]),
        ("pageSize=99999999999999999999", [("violation-on-pageSize", "must be between 1 and 500")]),
        ("since=yesterday", [("violation-on-since", "must be an RFC 3339 time")]),
        ("status=success", [("violation-on-status", "must be one of Success, Failure, Pending")]),
        ("pageToken=x", [("violation-on-pageToken", "is not valid")]),
        ("pageToken=%ff", [("violation-on-pageToken", "must be a string")]),
        ("X-API-KEY=demo-key", [("violation-on-X-API-KEY", "unknown field")]),
    ):
        answer = parse(exchange(request("GET", f"/transactions?{query}")))
        try:
            refused_with(answer, *violations)
        except AssertionError as error:
            raise AssertionError(f"{query}: {error}") from error
    for query in ("", "?", "?&", "?pageSize=", "?pageSize=1&&", "?since=2020-01-01T00%3A00%3A00%2B02%3A00"):
        same(parse(exchange(request("GET", f"/transactions{query}")))[0], 200, query)
    reference = name("odd")
    status, _, text = parse(exchange(request("GET", f"/transaction/{reference}?kind=gift")))
    same((status, "must be one of charge, refund" in text), (400, True))
    same(parse(exchange(request("POST", "/pin?type=MSISDN", subscriber())))[0], 400)


@claim
def paths_are_decoded_once_and_not_mended():
    for path, status in (
        ("/pin/", 404),
        ("//pin", 404),
        ("/PIN", 404),
        ("/pin/../pin", 404),
        ("/%70in", 404),
        ("/transaction/", 404),
        ("/transaction/a/b", 404),
        ("/transaction/a%2Fb", 404),
        ("/transaction/%2e%2e", 404),
        ("/onbill.v1.PinService/SendPin", 404),
    ):
        same(parse(exchange(request("POST" if "pin" in path else "GET", path, b"")))[0], status, path)
    reference = name("path.with:all_kinds-")
    body = {"type": "MSISDN", "address": number("01"), "extTransactionId": reference, "partnerProduct": "ott-basic"}
    sent = json.dumps({**body, "amount": 1, "currency": "MXN"}).encode()
    same(parse(exchange(request("POST", "/transaction", sent)))[0], 200)
    for path in (reference, reference.replace(":", "%3A"), reference.replace("-", "%2d")):
        same(parse(exchange(request("GET", f"/transaction/{path}")))[0], 200, path)
    absolute = request("GET", f"http://{ADDRESS}/transaction/{reference}")
    same(parse(exchange(absolute))[0], 200)


@claim
def bodies_that_are_no_object_are_refused_as_a_whole():
    nested = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    for body, reason in (
        (b"[]", BODY_OBJECT),
        (b'"x"', BODY_OBJECT),
        (b"null", BODY_OBJECT),
        (b"{}{}", BODY_OBJECT),
        (b'{"type":"MSISDN",}', BODY_OBJECT),
        (b"{\"type\":'MSISDN'}", BODY_OBJECT),
        (b'{"type":NaN}', BODY_OBJECT),
        (b'{"type":01}', BODY_OBJECT),
        (b'{"a":"\n"}', BODY_OBJECT),
        (b"/**/{}", BODY_OBJECT),
        (b"\xef\xbb\xbf{}", BODY_OBJECT),
        (b"\xff\xfe{\x00}\x00", "must be UTF-8"),
        (b'{"type":"\xc0\xaf"}', "must be UTF-8"),
        (b'{"type":"\xed\xa0\x80"}', "must be UTF-8"),
        (b" " * 65_537, BODY_OBJECT),
        (nested[:65_000], BODY_OBJECT),
        (b"x" * 1_000_000, BODY_OBJECT),
    ):
        answer = parse(exchange(request("POST", "/pin", body)))
        try:
            refused_with(answer, ("violation-on-body", reason))
        except AssertionError as error:
            raise AssertionError(f"{body[:30]}: {error}") from error
    refused_with(
        parse(exchange(request("POST", "/pin", b"", ["Content-Type: application/json", "Content-Length: 0"]))),
        ("violation-on-body", BODY_OBJECT),
    )
    refused_with(parse(exchange(request("POST", "/pin", b"", []))), ("violation-on-body", "must be application/json"))
    alive()


@claim
def values_of_the_wrong_type_are_named():
    for text, violations in (
        ('{"type":1,"address":2}', [("type", "must be a string"), ("address", "must be a string")]),
        ('{"type":"MSISDN","address":5550100001}', [("address", "must be a string")]),
        ('{"type":"MSISDN","address":["5550100001"]}', [("address", "must be a string")]),
        ('{"type":"MSISDN","address":null}', [("address", "must not be null")]),
        ('{"type":"MSISDN","type":"MSISDN","address":"5550100001"}', [("type", "duplicate field")]),
        ('{"type":"MSISDN","\\u0074ype":"MSISDN","address":"5550100001"}', [("type", "duplicate field")]),
        ('{"type":null,"type":null,"address":"5550100001"}', [("type", "duplicate field")]),
        ('{"Type":"MSISDN","address":"5550100001"}', [("type", "must not be null"), ("Type", "unknown field")]),
        ('{"type":"MSISDN","address":"5550100001","x":null}', [("x", "unknown field")]),
        ('{"type":"MSISDN","address":"\\ud800"}', None),
    ):
        answer = parse(exchange(request("POST", "/pin", text.encode())))
        same(answer[0], 400, text)
        if violations is not None:
            listed = [(f"violation-on-{field}", reason) for field, reason in violations]
            try:
                refused_with(answer, *listed)
            except AssertionError as error:
                raise AssertionError(f"{text}: {error}") from error


@claim
def amounts_keep_every_digit_or_are_refused():
    right = {"type": "MSISDN", "address": number("01"), "partnerProduct": "ott-basic", "currency": "MXN"}
    for amount, reason in (
        ("1e-3", "must be a decimal number"),
        ("1E2", "must be a decimal number"),
        ("0." + "0" * 16 + "1", "must have at most 2 decimals"),
        ("9.990000000000000001", "must have at most 2 decimals"),
        ('"NaN"', "must be a decimal number"),
        ('"1,00"', "must be a decimal number"),
        ('"+1"', "must be a decimal number"),
        ('" 1"', "must be a decimal number"),
        ('"\u0661"', "must be a decimal number"),
        ('""', "must not be null"),
        ("true", "must be a decimal number"),
        ("{}", "must be a decimal number"),
        ("9" * 13, "must be a decimal number"),
        ("0", "must not be 0"),
        ("-0.00", "must not be 0"),
    ):
        body = json.dumps({**right, "extTransactionId": name("amount")})[:-1] + f',"amount":{amount}}}'
        answer = parse(exchange(request("POST", "/transaction", body.encode())))
        try:
            refused_with(answer, ("violation-on-amount", reason))
        except AssertionError as error:
            raise AssertionError(f"{amount}: {error}") from error
    for amount, printed in (("9.9900", "9.99"), ('"9.99"', "9.99"), ("10", "10.0"), ('"0.010"', "0.01")):
        reference = name("amount")
        body = json.dumps({**right, "extTransactionId": reference})[:-1] + f',"amount":{amount}}}'
        same(parse(exchange(request("POST", "/transaction", body.encode())))[0], 200, amount)
        found = json.loads(parse(exchange(request("GET", f"/transaction/{reference}")))[2])
        same(found["amount"], printed, amount)


@claim
def accept_is_no_reason_to_refuse():
    for accept in ("application/json", "text/html", "*/*", "application/json;q=0", "nonsense", ""):
        sent = request("POST", "/account/validate", subscriber(), [f"Accept: {accept}", "Accept-Encoding: gzip, br"])
        status, headers, _ = parse(exchange(sent))
        same((status, headers["content-type"]), (200, "application/json"), accept)
        assert "content-encoding" not in headers, headers


@claim
def a_caller_cannot_speak_for_the_inner_protocol():
    for line in ("grpc-timeout: 1n", "grpc-encoding: gzip", "grpc-accept-encoding: gzip", "te: trailers"):
        status, headers, body = parse(exchange(request("POST", "/account/validate", subscriber(), [line])))
        same((status, body), (200, '{"status":"ACTIVE","type":"postpaid"}'), line)
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    same(parse(exchange(request("POST", "/account/validate", subscriber(), upgrade)))[0], 200)
    typed = request("POST", "/account/validate", subscriber(), typed="application/grpc")
    received = exchange(typed)
    assert b" 5" not in received[8:12], received[:200]
    for line in ("X-API-KEY: other-key", "x-api-key: demo-key"):
        same(parse(exchange(request("POST", "/pin", subscriber(), [line])))[0], 401, line)


@claim
def slow_and_silent_callers_cost_others_nothing():
    slow = [socket.create_connection((HOST, int(PORT)), timeout=15) for _ in range(200)]
    for index, connection in enumerate(slow):
        connection.sendall(request("POST", "/pin", b"", ["Content-Length: 100"])[: 20 + index % 100])
    alive()
    for connection in slow:
        connection.close()
    alive()


if __name__ == "__main__":
    run_claims("raw HTTP")
