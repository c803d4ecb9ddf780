"""Takes onbill's events, and believes only those that are signed: Standard Webhooks 1.0, with the standard library alone.

    WEBHOOK_SECRETS=whsec_... python3 webhook.py 8099

WEBHOOK_SECRETS is one secret, or two with a comma between while you change from one to the other.

An event comes at least once, so each is looked up by `webhook-id` before anything is done. Answer 2xx once it is safely
kept, and do the work afterwards: an answer that takes 15 seconds counts as none, and the event comes again.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Older or newer than this is not taken, so that nobody can send an event again that they have overheard.
TOLERANCE_S = 300
BODY_BYTES_MAX = 65536


def is_signed(secrets, headers, body, now_s):
    """Whether one of the secrets has signed this body, at about this time."""
    event_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not event_id or not sent_at.isascii() or not sent_at.isdigit() or abs(now_s - int(sent_at)) > TOLERANCE_S:
        return False
    signed = f"{event_id}.{sent_at}.".encode() + body
    # A header may hold several signatures, by several secrets and of later versions.
    offered = [text.removeprefix("v1,") for text in headers.get("webhook-signature", "").split() if text.startswith("v1,")]
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        # compare_digest takes the same time for every wrong signature.
        if any(hmac.compare_digest(wanted.encode(), text.encode()) for text in offered):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    secrets = []
    # Yours is a table with a unique key: two of these processes do not know of one another.
    seen = set()

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            return self.answer(413)
        # The bytes as they came: JSON that was read and written again has another signature.
        body = self.rfile.read(length)
        if not is_signed(self.secrets, self.headers, body, time.time()):
            return self.answer(401)
        event = json.loads(body)
        if event["id"] not in self.seen:
            self.seen.add(event["id"])
            about = event["data"]
            print(f"{event['type']} {about.get('extTransactionId')} {about.get('status')}", flush=True)
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing: what matters is printed above."""


def main():
    Receiver.secrets = os.environ["WEBHOOK_SECRETS"].split(",")
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
