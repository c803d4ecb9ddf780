"""Python's grpcio against the gateway: stubs compiled from proto/ on the spot, and the public helper packages for
error details, health and reflection.

Invariant: nothing here is ours but the protos. The google/api files are those of googleapis-common-protos, in the same
process, so that a clash of file names with the ones of this repository would show.
"""

import os
import pathlib
import sys
import tempfile
import threading
import time
import urllib.request
import json

import grpc
import grpc_tools
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

from claims import ADDRESS, KEY, claim, name, number, run_claims, same

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = tempfile.mkdtemp(prefix="onbill-stubs-")
FILES = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/onbill").rglob("*.proto"))
WELL_KNOWN = str(pathlib.Path(grpc_tools.__file__).parent / "_proto")
PUBLIC = str(pathlib.Path(annotations_pb2.__file__).parents[2])

arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{WELL_KNOWN}", f"--python_out={OUT}", f"--grpc_python_out={OUT}"]
if protoc.main(arguments + FILES) != 0:
    sys.exit("the protos do not compile")
sys.path.insert(0, OUT)

from onbill.v1 import account_pb2, account_pb2_grpc  # noqa: E402
from onbill.v1 import notification_pb2, notification_pb2_grpc  # noqa: E402
from onbill.v1 import pin_pb2, pin_pb2_grpc  # noqa: E402
from onbill.v1 import sandbox_pb2, sandbox_pb2_grpc  # noqa: E402
from onbill.v1 import transaction_pb2, transaction_pb2_grpc  # noqa: E402

CHANNEL = grpc.insecure_channel(ADDRESS)
WITH_KEY = (("x-api-key", KEY),)
ACCOUNTS = account_pb2_grpc.AccountServiceStub(CHANNEL)
PINS = pin_pb2_grpc.PinServiceStub(CHANNEL)
MONEY = transaction_pb2_grpc.TransactionServiceStub(CHANNEL)
NOTES = notification_pb2_grpc.NotificationServiceStub(CHANNEL)
SANDBOX = sandbox_pb2_grpc.SandboxServiceStub(CHANNEL)


def refused(call, request, metadata=WITH_KEY, **options):
    """The error that a call ends in."""
    try:
        answer = call(request, metadata=metadata, timeout=10, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"it was answered: {answer}")


def details(error):
    """The google.rpc details of an error, by their message's name."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.TypeName().rsplit(".", 1)[1])
        message = kind()
        assert packed.Unpack(message), packed.type_url
        found[kind.DESCRIPTOR.name] = message
    same(status.message, error.details(), "the message of the status and of its details")
    return found


def charge(msisdn, reference, **fields):
    """A charge of 9.99 for the basic product, with these fields changed."""
    known = {
        "ext_transaction_id": reference,
        "type": "MSISDN",
        "address": msisdn,
        "partner_product": "ott-basic",
        "amount": "9.99",
        "currency": "MXN",
    }
    return transaction_pb2.CreateTransactionRequest(**{**known, **fields})


@claim
def a_purchase_goes_from_account_to_refund():
    msisdn, reference = number("01"), name("purchase")
    account = ACCOUNTS.ValidateAccount(
        account_pb2.ValidateAccountRequest(type="MSISDN", address=msisdn, partner_product="ott-basic"),
        metadata=WITH_KEY,
    )
    same((account.status, account.type), ("ACTIVE", "postpaid"))
    assert account.account_id
    PINS.SendPin(pin_pb2.SendPinRequest(type="MSISDN", address=msisdn), metadata=WITH_KEY)
    inbox = SANDBOX.ListMessages(sandbox_pb2.ListMessagesRequest(address=msisdn), metadata=WITH_KEY)
    digits = [word.strip(".,:;") for word in inbox.messages[0].text.split()]
    pin = next(word for word in digits if len(word) == 6 and word.isdigit())
    wrong = "000000" if pin != "000000" else "111111"
    request = pin_pb2.ValidatePinRequest(type="MSISDN", address=msisdn, pin=wrong)
    error = refused(PINS.ValidatePin, request)
    same((error.code(), error.details()), (grpc.StatusCode.INVALID_ARGUMENT, "Invalid pin"))
    request.pin = pin
    PINS.ValidatePin(request, metadata=WITH_KEY)
    by_account = charge(msisdn, reference, type="", address="", account_id=account.account_id)
    done = MONEY.CreateTransaction(by_account, metadata=WITH_KEY)
    same((done.ext_transaction_id, done.status, done.description), (reference, "Success", "Charge success"))
    which = transaction_pb2.GetTransactionRequest(ext_transaction_id=reference)
    found = MONEY.GetTransaction(which, metadata=WITH_KEY)
    same((found.amount, found.currency, found.status, found.message), ("9.99", "MXN", "Success", "Charge success"))
    same(found.charge_date.nanos, 0)
    assert abs(found.charge_date.seconds - time.time()) < 600
    by_account.amount = "-9.99"
    same(MONEY.CreateTransaction(by_account, metadata=WITH_KEY).status, "Success")
    which.kind = "refund"
    same(MONEY.GetTransaction(which, metadata=WITH_KEY).amount, "-9.99")
    bill = SANDBOX.GetBill(sandbox_pb2.GetBillRequest(address=msisdn), metadata=WITH_KEY)
    same((len(bill.lines), bill.total), (2, "0.0"))
    NOTES.SendNotification(
        notification_pb2.SendNotificationRequest(type="MSISDN", address=msisdn, message="¡Gracias! 🎬"),
        metadata=WITH_KEY,
    )
    inbox = SANDBOX.ListMessages(sandbox_pb2.ListMessagesRequest(address=msisdn), metadata=WITH_KEY)
    same(inbox.messages[0].text, "¡Gracias! 🎬")


@claim
def a_repeat_says_so_in_initial_metadata_and_bills_once():
    msisdn, request = number("01"), None
    request = charge(msisdn, name("repeat"))
    first, call = MONEY.CreateTransaction.with_call(request, metadata=WITH_KEY)
    assert "idempotency-replayed" not in dict(call.initial_metadata())
    again, call = MONEY.CreateTransaction.with_call(request, metadata=WITH_KEY)
    same(dict(call.initial_metadata())["idempotency-replayed"], "true")
    same(again.SerializeToString(), first.SerializeToString())
    bill = SANDBOX.GetBill(sandbox_pb2.GetBillRequest(address=msisdn), metadata=WITH_KEY)
    same(len(bill.lines), 1)
    request.amount = "10"
    error = refused(MONEY.CreateTransaction, request)
    same(error.code(), grpc.StatusCode.ALREADY_EXISTS)
    violation = details(error)["BadRequest"].field_violations[0]
    same((violation.field, violation.description), ("ext_transaction_id", "already used by another transaction"))


@claim
def errors_carry_error_info_and_bad_request():
    error = refused(MONEY.CreateTransaction, charge("abc", "", currency="mxn", amount="1e3"))
    same((error.code(), error.details()), (grpc.StatusCode.INVALID_ARGUMENT, "Invalid request."))
    found = details(error)
    info = found["ErrorInfo"]
    same((info.reason, info.domain, dict(info.metadata)), ("INVALID_REQUEST", "onbill", {"code": "invalid-request"}))
    listed = [(each.field, each.reason, each.description) for each in found["BadRequest"].field_violations]
    same(
        listed,
        [
            ("ext_transaction_id", "VIOLATION_ON_EXT_TRANSACTION_ID", "must not be null"),
            ("address", "VIOLATION_ON_ADDRESS", 'must match "^[0-9]{10}$"'),
            ("amount", "VIOLATION_ON_AMOUNT", "must be a decimal number"),
            ("currency", "VIOLATION_ON_CURRENCY", 'must match "^[A-Z]{3}$"'),
        ],
    )
    request = account_pb2.ValidateAccountRequest(type="MSISDN", address=number("05"))
    error = refused(ACCOUNTS.ValidateAccount, request)
    same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    info = details(error)["ErrorInfo"]
    same((info.reason, info.metadata["code"]), ("ELIGIBILITY_FAILED_CSP", "eligibility-failed csp"))


@claim
def without_a_key_nothing_is_answered():
    request = account_pb2.ValidateAccountRequest(type="MSISDN", address=number("01"))
    for metadata in ((), (("x-api-key", "guess"),), (("x-api-key", ""),)):
        error = refused(ACCOUNTS.ValidateAccount, request, metadata=metadata)
        same((error.code(), error.details()), (grpc.StatusCode.UNAUTHENTICATED, "Not authorized."), metadata)
        same(details(error)["ErrorInfo"].reason, "AUTHORIZATION_FAILURE")


@claim
def unknown_methods_are_unimplemented_with_details():
    for path in ("/onbill.v1.AccountService/DeleteAccount", "/onbill.v1.Nothing/At", "/other.v9.Service/Method"):
        call = CHANNEL.unary_unary(path)
        error = refused(call, b"")
        same((error.code(), error.details()), (grpc.StatusCode.UNIMPLEMENTED, "Not found."), path)
        same(details(error)["ErrorInfo"].metadata["code"], "not-found")


@claim
def broken_utf8_and_broken_frames_are_invalid_argument():
    call = CHANNEL.unary_unary("/onbill.v1.AccountService/ValidateAccount")
    for raw in (b"\x0a\x02\xff\xfe", b"\x12\x03\xed\xa0\x80", b"\x0a\xff", b"\x0a", b"\xff" * 11, b"\x0b\x0b", b"\x00"):
        error = refused(call, raw)
        same((error.code(), error.details()), (grpc.StatusCode.INVALID_ARGUMENT, "Invalid request."), raw)
        assert details(error)["BadRequest"].field_violations, raw


@claim
def a_message_of_a_megabyte_is_invalid_argument():
    error = refused(PINS.SendPin, pin_pb2.SendPinRequest(type="MSISDN", address="5" * 1_000_000))
    same(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    same(details(error)["ErrorInfo"].reason, "INVALID_REQUEST")


@claim
def deadlines_end_the_wait_and_not_the_work():
    slow = number("13")
    request = account_pb2.ValidateAccountRequest(type="MSISDN", address=slow)
    same(ACCOUNTS.ValidateAccount(request, metadata=WITH_KEY, timeout=5).status, "ACTIVE")
    started = time.monotonic()
    try:
        ACCOUNTS.ValidateAccount(request, metadata=WITH_KEY, timeout=0.05)
        raise AssertionError("it was answered in 50 ms by a CSP that takes 250 ms")
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), error
    assert time.monotonic() - started < 5
    reference = name("slow")
    try:
        MONEY.CreateTransaction(charge(slow, reference), metadata=WITH_KEY, timeout=0.4)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), error
    answer = MONEY.CreateTransaction(charge(slow, reference), metadata=WITH_KEY, timeout=10)
    same(answer.status, "Success")
    bill = SANDBOX.GetBill(sandbox_pb2.GetBillRequest(address=slow), metadata=WITH_KEY)
    same(len(bill.lines), 1)


@claim
def gzip_goes_both_ways():
    packed = grpc.insecure_channel(ADDRESS, compression=grpc.Compression.Gzip)
    money = transaction_pb2_grpc.TransactionServiceStub(packed)
    request = charge(number("01"), name("gzip"), description="films " * 20)
    same(money.CreateTransaction(request, metadata=WITH_KEY).status, "Success")
    notes = notification_pb2_grpc.NotificationServiceStub(packed)
    bomb = notification_pb2.SendNotificationRequest(type="MSISDN", address=number("01"), message="0" * 50_000_000)
    error = refused(notes.SendNotification, bomb)
    same(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    same(details(error)["ErrorInfo"].reason, "INVALID_REQUEST")
    health = health_pb2_grpc.HealthStub(packed)
    same(health.Check(health_pb2.HealthCheckRequest()).status, health_pb2.HealthCheckResponse.SERVING)


@claim
def an_unknown_compression_is_refused_and_says_which_are_known():
    deflated = grpc.insecure_channel(ADDRESS, compression=grpc.Compression.Deflate)
    stub = account_pb2_grpc.AccountServiceStub(deflated)
    request = account_pb2.ValidateAccountRequest(type="MSISDN", address=number("01") + "0" * 200)
    error = refused(stub.ValidateAccount, request)
    same(error.code(), grpc.StatusCode.UNIMPLEMENTED)


@claim
def health_is_told_without_a_key():
    stub = health_pb2_grpc.HealthStub(CHANNEL)
    for service in ("", "onbill.v1.AccountService", "onbill.v1.TransactionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        same(answer.status, health_pb2.HealthCheckResponse.SERVING, service)
    error = refused(stub.Check, health_pb2.HealthCheckRequest(service="nobody"), metadata=())
    same(error.code(), grpc.StatusCode.NOT_FOUND)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
    same(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
    watch.cancel()


@claim
def reflection_gives_the_whole_api():
    database = ProtoReflectionDescriptorDatabase(CHANNEL)
    services = set(database.get_services())
    for service in ("Account", "Pin", "Transaction", "Notification", "Sandbox"):
        assert f"onbill.v1.{service}Service" in services, services
    pool = descriptor_pool.DescriptorPool(database)
    found = pool.FindServiceByName("onbill.v1.TransactionService")
    options = found.methods_by_name["CreateTransaction"].GetOptions()
    assert b"/transaction" in options.SerializeToString(), "the annotation is not in the reflected options"
    same(pool.FindMessageTypeByName("google.api.HttpRule").file.name, "google/api/http.proto")


@claim
def reflection_v1_speaks_the_same_words():
    # The messages of v1 and v1alpha are the same on the wire; only the name of the service differs.
    for version in ("v1", "v1alpha"):
        call = CHANNEL.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="onbill.v1.PinService.SendPin"),
            reflection_pb2.ServerReflectionRequest(file_by_filename="google/api/annotations.proto"),
        ]
        kinds = [answer.WhichOneof("message_response") for answer in call(iter(asked), timeout=10)]
        same(
            kinds,
            ["list_services_response", "file_descriptor_response", "file_descriptor_response"],
            version,
        )


@claim
def the_public_google_api_files_and_ours_are_the_same_files():
    compiled = os.path.join(OUT, "google-api.binpb")
    wanted = [public.DESCRIPTOR.name for public in (http_pb2, annotations_pb2)]
    flags = ["protoc", f"-I{ROOT / 'proto'}", f"-I{WELL_KNOWN}", f"--descriptor_set_out={compiled}"]
    same(protoc.main(flags + wanted), 0)
    files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(compiled).read_bytes()).file
    same([file.name for file in files], wanted)
    for file in files:
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
        for field in file.extension:
            field.ClearField("json_name")
        # The default pool has the public file already: adding another under its name fails unless they are the same.
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


@claim
def thirty_two_callers_of_one_charge_make_one_line():
    msisdn, request = number("01"), None
    request = charge(msisdn, name("many"))
    answers, lock = [], threading.Lock()

    def call():
        answer, call = MONEY.CreateTransaction.with_call(request, metadata=WITH_KEY, timeout=20)
        with lock:
            answers.append((answer.status, dict(call.initial_metadata()).get("idempotency-replayed")))

    threads = [threading.Thread(target=call) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(sorted(answers, key=str), sorted([("Success", None)] + [("Success", "true")] * 31, key=str))
    bill = SANDBOX.GetBill(sandbox_pb2.GetBillRequest(address=msisdn), metadata=WITH_KEY)
    same(len(bill.lines), 1)


@claim
def what_one_face_did_the_other_repeats():
    request = charge(number("01"), name("faces"))
    MONEY.CreateTransaction(request, metadata=WITH_KEY)
    body = {
        "extTransactionId": request.ext_transaction_id,
        "type": request.type,
        "address": request.address,
        "partnerProduct": request.partner_product,
        "amount": 9.99,
        "currency": request.currency,
    }
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    sent = urllib.request.Request(f"http://{ADDRESS}/transaction", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(sent, timeout=10) as answer:
        same(answer.headers["idempotency-replayed"], "true")
        text = answer.read().decode()
    same(
        text,
        f'{{"extTransactionId":"{request.ext_transaction_id}","status":"Success","description":"Charge success"}}',
    )


@claim
def correlation_ids_come_back():
    request = account_pb2.ValidateAccountRequest(type="MSISDN", address=number("01"))
    _, call = ACCOUNTS.ValidateAccount.with_call(request, metadata=WITH_KEY + (("x-correlation-id", "abc.1"),))
    same(dict(call.initial_metadata())["x-correlation-id"], "abc.1")


os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
if __name__ == "__main__":
    run_claims("grpcio")
