"""A complete CSP for onbill: serves onbill.csp.v1.CspService, and keeps its bill in a SQLite file.

Every decision about a reference is one committed row of `decided` before it is answered, so a repeat finds it, whatever
died in between. Run: python csp.py BILL_FILE [HOST:PORT [API_KEY]]; the stubs are made from csp.proto (see the guide).
"""

import concurrent.futures
import decimal
import re
import signal
import sqlite3
import sys
import threading

import grpc
from onbill.csp.v1 import csp_pb2 as pb
from onbill.csp.v1 import csp_pb2_grpc

BARRED = {"02": pb.STANDING_CEASED, "03": pb.STANDING_SUSPENDED_NON_PAYMENT, "04": pb.STANDING_SUSPENDED_LOST_STOLEN}
CURRENCY, DECIMALS = "MXN", 2
VOID = "void"  # Stands where a request would, of a reference that was made void.
LIMIT_MINOR = 100_000  # What an account whose number ends in 07 may spend in all.
TABLES = """
create table if not exists decided (reference text primary key, request text not null, refusal text);
create table if not exists line (reference text primary key, account text not null, charge text, minor integer not null,
                                 text text not null);
"""


def minor_of(money):
    """The minor units of an amount, or None where it is not one of ours."""
    value = decimal.Decimal(money.amount).scaleb(DECIMALS)
    ours = money.currency == CURRENCY and value > 0 and value == value.to_integral_value()
    return int(value) if ours else None


def account_of(name):
    """The accounts there are: acc-<number>, of 555, five digits, and two from 01 to 07 that say what it is."""
    found = re.fullmatch(r"acc-555\d{5}(0[1-7])", name)
    return found and pb.Account(
        account_id=name,
        standing=BARRED.get(found[1], pb.STANDING_ACTIVE),
        payment=pb.PAYMENT_PREPAID if found[1] == "06" else pb.PAYMENT_POSTPAID,
        eligibility=pb.ELIGIBILITY_NOT_ELIGIBLE if found[1] == "05" else pb.ELIGIBILITY_ELIGIBLE,
    )


def answer(kind, said):
    return kind(refused=said) if isinstance(said, pb.Refusal) else kind(booked=said)


class Csp(csp_pb2_grpc.CspServiceServicer):
    def __init__(self, file):
        self.lock = threading.Lock()  # One decision at a time.
        self.bill = sqlite3.connect(file, check_same_thread=False)
        self.bill.executescript("pragma journal_mode=wal; pragma synchronous=full;" + TABLES)

    def one(self, query, *values):
        return self.bill.execute(query, values).fetchone()

    def decided(self, reference):
        """What was decided of a reference: its request, and a Booking or a Refusal; or None."""
        row = self.one("select request, refusal from decided where reference = ?", reference)
        if row is None or row[1]:
            return row and (row[0], pb.Refusal(code=row[1]))
        minor, charge = self.one("select minor, charge from line where reference = ?", reference)
        money = pb.Money(amount=f"{decimal.Decimal(abs(minor)).scaleb(-DECIMALS):.{DECIMALS}f}", currency=CURRENCY)
        return row[0], pb.Booking(reference=reference, money=money, charge_reference=charge or "")

    def why_not(self, name, charge, minor):
        """The code with which a charge is refused, or a refund of `charge`; None where it is booked."""
        if account_of(name) is None or minor is None:
            return "invalid-money" if minor is None else "unknown-account"
        if charge is None:
            spent = self.one("select coalesce(sum(minor), 0) from line where account = ?", name)[0]
            return "daily-limit" if name.endswith("07") and spent + minor > LIMIT_MINOR else None
        of = self.one("select minor from line where reference = ? and account = ? and minor > 0", charge, name)
        back = self.one("select coalesce(sum(-minor), 0) from line where charge = ?", charge)[0]
        return "unknown-charge" if of is None else "refund-exceeds-charge" if back + minor > of[0] else None

    def decide(self, request, charge=None):
        """Decides a request once: the answer is on the disk before it is given."""
        reference, minor = request.reference, minor_of(request.money)
        text = request.SerializeToString(deterministic=True).hex()
        with self.lock:
            before = self.decided(reference)
            if before:
                return before[1] if before[0] in (text, VOID) else pb.Refusal(code="reference-reused")
            code = self.why_not(request.account_id, charge, minor)
            with self.bill:  # Both rows or none.
                self.bill.execute("insert into decided values (?, ?, ?)", (reference, text, code))
                if code is None:
                    line = (reference, request.account_id, charge, -minor if charge else minor, request.description)
                    self.bill.execute("insert into line values (?, ?, ?, ?, ?)", line)
            return self.decided(reference)[1]

    def Account(self, request, context):
        name = "acc-" + request.msisdn if request.HasField("msisdn") else request.account_id
        found = account_of(name)
        return pb.AccountResponse(account=found) if found else pb.AccountResponse(unknown=pb.UnknownAccount())

    def Charge(self, request, context):
        return answer(pb.ChargeResponse, self.decide(request))

    def Refund(self, request, context):
        return answer(pb.RefundResponse, self.decide(request, request.charge_reference))

    def Inquire(self, request, context):
        with self.lock:
            before = self.decided(request.reference)
        if before is None or before[0] == VOID:
            return pb.InquireResponse(unknown=pb.UnknownReference())
        return answer(pb.InquireResponse, before[1])

    def Void(self, request, context):
        with self.lock, self.bill:
            row = (request.reference, VOID, "reference-void")
            self.bill.execute("insert or ignore into decided values (?, ?, ?)", row)
            text, said = self.decided(request.reference)
        return pb.VoidResponse(voided=pb.Voided()) if text == VOID else answer(pb.VoidResponse, said)

    def Notify(self, request, context):
        if account_of("acc-" + request.msisdn) is None:
            return pb.NotifyResponse(refused=pb.Refusal(code="unknown-account"))
        return pb.NotifyResponse(sent=pb.Sent())  # Here the text would go to the SMS centre; it is not logged.


class KeyCheck(grpc.ServerInterceptor):
    def __init__(self, key):
        self.key = ("x-api-key", key)
        self.no = grpc.unary_unary_rpc_method_handler(
            lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong key"))

    def intercept_service(self, go_on, call):
        return go_on(call) if self.key in [tuple(pair) for pair in call.invocation_metadata] else self.no


def main(file, address="127.0.0.1:8091", key=None):
    checks = [KeyCheck(key)] if key else []
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32), interceptors=checks)
    csp_pb2_grpc.add_CspServiceServicer_to_server(Csp(file), server)
    port = server.add_insecure_port(address)
    server.start()
    print(f"listening on {address.rsplit(':', 1)[0]}:{port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop(grace=5).wait()


main(*sys.argv[1:])
