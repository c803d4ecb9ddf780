"""The purchase of purchase.py over gRPC, with grpcio and the retry policy of service-config.json.

    python3 -m pip install grpcio grpcio-tools googleapis-common-protos
    mkdir stubs
    python3 -m grpc_tools.protoc -Iproto --python_out=stubs --grpc_python_out=stubs proto/onbill/v1/*.proto
    PYTHONPATH=stubs python3 deploy/clients/python/purchase_grpc.py NUMBER [ORDER]

What repeats is the channel: it sends the same message again on UNAVAILABLE, with growing pauses, five times in all, and
nothing else. `Pending` is an answer and no error: WatchTransaction tells when it is final.

From the environment: ONBILL_ADDRESS (default 127.0.0.1:8080), ONBILL_KEY and ONBILL_PIN as in purchase.py.
Exit codes: 0 done, 1 refused, 2 the charge failed, 75 in doubt: run it again later with the same ORDER.
"""

import os
import pathlib
import re
import sys
import time
import uuid

import grpc
from onbill.v1 import account_pb2, account_pb2_grpc, notification_pb2, notification_pb2_grpc, pin_pb2, pin_pb2_grpc
from onbill.v1 import sandbox_pb2, sandbox_pb2_grpc, transaction_pb2, transaction_pb2_grpc

SERVICE_CONFIG = pathlib.Path(__file__).resolve().parents[1] / "service-config.json"
KEY = (("x-api-key", os.environ.get("ONBILL_KEY", "demo-key")),)
PATIENCE_S = 30.0
# After these nobody knows whether it was done: keep the id, and send the same again.
DOUBT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class InDoubt(Exception):
    """Not final when patience was at its end."""


def connect():
    """A channel that repeats as service-config.json says. For TLS: grpc.secure_channel, with the same options."""
    options = [("grpc.enable_retries", 1), ("grpc.service_config", SERVICE_CONFIG.read_text())]
    return grpc.insecure_channel(os.environ.get("ONBILL_ADDRESS", "127.0.0.1:8080"), options)


def pin_of_the_customer(channel, number):
    """What the customer types. In the sandbox the phone can be read."""
    if os.environ.get("ONBILL_PIN") == "ask":
        return input("PIN: ").strip()
    sandbox = sandbox_pb2_grpc.SandboxServiceStub(channel)
    inbox = sandbox.ListMessages(sandbox_pb2.ListMessagesRequest(address=number), metadata=KEY)
    return re.search(r"\b\d{6}\b", inbox.messages[0].text)[0]


def outcome(money, ext_transaction_id, kind):
    """Watches a transaction until it is final. A stream that breaks is begun again; it tells where things stand first."""
    until = time.monotonic() + PATIENCE_S
    which = transaction_pb2.WatchTransactionRequest(ext_transaction_id=ext_transaction_id, kind=kind)
    while (left := until - time.monotonic()) > 0:
        try:
            for told in money.WatchTransaction(which, metadata=KEY, timeout=left):
                print(f"{kind} {ext_transaction_id}: {told.status}, {told.message}")
                if told.status != "Pending":
                    return told.status
        except grpc.RpcError as error:
            if error.code() not in DOUBT:
                raise
        time.sleep(0.5)
    raise InDoubt(f"the {kind} {ext_transaction_id} is still Pending")


def purchase(channel, number, order_id):
    """0 where the customer has paid, 2 where they have not."""
    who = {"type": "MSISDN", "address": number}
    accounts = account_pb2_grpc.AccountServiceStub(channel)
    asked = account_pb2.ValidateAccountRequest(**who, partner_product="ott-basic")
    account = accounts.ValidateAccount(asked, metadata=KEY)
    print(f"account: {account.status}, {account.type}")

    pins = pin_pb2_grpc.PinServiceStub(channel)
    pins.SendPin(pin_pb2.SendPinRequest(**who), metadata=KEY)
    typed = pin_of_the_customer(channel, number)
    pins.ValidatePin(pin_pb2.ValidatePinRequest(**who, pin=typed), metadata=KEY)
    print("the phone is the customer's")

    money = transaction_pb2_grpc.TransactionServiceStub(channel)
    order = transaction_pb2.CreateTransactionRequest(
        ext_transaction_id=order_id,
        **who,
        partner_product="ott-basic",
        amount="9.99",
        currency="MXN",
        description="Films in November",
    )
    status = money.CreateTransaction(order, metadata=KEY).status
    print(f"charge {order_id}: {status}")
    if status == "Pending":
        # The operator has not answered. Do not charge again under another id: watch.
        status = outcome(money, order_id, "charge")
    found = transaction_pb2.GetTransactionRequest(ext_transaction_id=order_id)
    print(f"charge {order_id}: {money.GetTransaction(found, metadata=KEY).message}")
    if status == "Failure":
        return 2

    refund_id = f"{order_id}-refund"
    refund = transaction_pb2.CreateTransactionRequest()
    refund.CopyFrom(order)
    refund.ext_transaction_id, refund.reference_id, refund.amount = refund_id, order_id, "-9.99"
    status = money.CreateTransaction(refund, metadata=KEY).status
    if status == "Pending":
        status = outcome(money, refund_id, "refund")
    print(f"refund {refund_id}: {status}")

    # With an id a text is sent once, however often the request is.
    thanks = notification_pb2.SendNotificationRequest(
        **who, message="Your purchase was given back.", ext_notification_id=f"{order_id}-thanks"
    )
    notification_pb2_grpc.NotificationServiceStub(channel).SendNotification(thanks, metadata=KEY)
    print("the customer was told")
    return 0


def main():
    number = sys.argv[1]
    order_id = sys.argv[2] if len(sys.argv) > 2 else f"order-{uuid.uuid4()}"
    try:
        with connect() as channel:
            return purchase(channel, number, order_id)
    except grpc.RpcError as error:
        if error.code() not in DOUBT:
            print(f"refused: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
        print(f"in doubt: {error.code().name}; run again later with the order {order_id}", file=sys.stderr)
        return 75
    except InDoubt as doubt:
        print(f"in doubt: {doubt}; run again later with the order {order_id}", file=sys.stderr)
        return 75


if __name__ == "__main__":
    sys.exit(main())
