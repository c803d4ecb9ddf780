"""A purchase over JSON: is the account fit, whose phone is it, charge, look, give back, say thanks.

    python3 purchase.py NUMBER [ORDER]

ORDER is your id of this purchase. Make it once, write it down before the first call, and use it for every repeat.
Run this again with the same ORDER, whatever happened the first time: nobody is charged twice.

From the environment: ONBILL_URL (default http://127.0.0.1:8080), ONBILL_KEY (default the sandbox's demo-key), and
ONBILL_PIN=ask to type the PIN; otherwise it is read from the sandbox's phone.

Exit codes: 0 done, 1 refused, 2 the charge failed, 75 in doubt: run it again later with the same ORDER.
"""

import os
import re
import sys
import uuid

from onbill_json import InDoubt, Onbill, Refused


def pin_of_the_customer(onbill, number):
    """What the customer types. In the sandbox the phone can be read."""
    if os.environ.get("ONBILL_PIN") == "ask":
        return input("PIN: ").strip()
    inbox, _ = onbill.send("GET", f"/sandbox/messages?address={number}")
    return re.search(r"\b\d{6}\b", inbox["messages"][0]["text"])[0]


def purchase(onbill, number, order_id):
    """0 where the customer has paid, 2 where they have not."""
    who = {"type": "MSISDN", "address": number}
    account, _ = onbill.send("POST", "/account/validate", {**who, "partnerProduct": "ott-basic"})
    print(f"account: {account['status']}, {account['type']}")

    onbill.send("POST", "/pin", who)
    onbill.send("POST", "/pin/validation", {**who, "pin": pin_of_the_customer(onbill, number)})
    print("the phone is the customer's")

    # Everything of the order stands here once. A repeat that differs in anything is another request, and is refused.
    order = {
        "extTransactionId": order_id,
        **who,
        "partnerProduct": "ott-basic",
        "amount": "9.99",
        "currency": "MXN",
        "description": "Films in November",
    }
    charged = onbill.charge(order)
    print(f"charge {order_id}: {charged['status']}, {charged['description']}")
    if charged["status"] == "Pending":
        # The operator has not answered. Do not charge again under another id: ask.
        charged = onbill.outcome(order_id)
        print(f"charge {order_id}: {charged['status']}, {charged['message']}")
    if charged["status"] == "Pending":
        raise InDoubt(f"the charge {order_id} is still Pending")
    if charged["status"] == "Failure":
        return 2

    # A refund has an id of its own, which is kept like the order's, and names the charge.
    refund_id = f"{order_id}-refund"
    refund = {**order, "extTransactionId": refund_id, "referenceId": order_id, "amount": "-9.99"}
    refunded = onbill.charge(refund)
    if refunded["status"] == "Pending":
        refunded = onbill.outcome(refund_id, kind="refund")
    print(f"refund {refund_id}: {refunded['status']}")

    # With an id a text is sent once, however often the request is.
    thanks = {**who, "message": "Your purchase was given back.", "extNotificationId": f"{order_id}-thanks"}
    onbill.send("POST", "/notification", thanks)
    print("the customer was told")
    return 0


def main():
    number = sys.argv[1]
    order_id = sys.argv[2] if len(sys.argv) > 2 else f"order-{uuid.uuid4()}"
    onbill = Onbill(os.environ.get("ONBILL_URL", "http://127.0.0.1:8080"), os.environ.get("ONBILL_KEY", "demo-key"))
    try:
        return purchase(onbill, number, order_id)
    except Refused as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    except InDoubt as doubt:
        print(f"in doubt: {doubt}; run again later with the order {order_id}", file=sys.stderr)
        return 75


if __name__ == "__main__":
    sys.exit(main())
