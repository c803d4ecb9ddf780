"""onbill over JSON, with Python's standard library alone.

The retry rule is in `send`, and it is all that a client has to get right:

* The same request goes out again under the same id. Never make a new id because an answer did not come.
* It goes out again after 503 and after every doubt: no connection, no answer, a 502 or 504 of something in between.
* It does not go out again after 400, 401, 403, 404 or 429: sending it unchanged does not help.
* Attempts are bounded, pauses grow, no two clients pause alike, and `Retry-After` is honoured.

`Pending` is an answer and no error: `outcome` asks until it is final.
"""

import json
import random
import time
import urllib.error
import urllib.request

ATTEMPTS_MAX = 5
FIRST_PAUSE_S = 0.5
PAUSE_MAX_S = 5.0
ANSWER_MAX_S = 15.0


class Refused(Exception):
    """onbill said no, and will say it again."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error.get('code')}: {error.get('message')} {error.get('validationErrors', '')}")
        self.status = status
        self.code = error.get("code")


class InDoubt(Exception):
    """All attempts are used up. Keep the id, and send the very same request again later."""


class Onbill:
    """A partner's connection to a gateway."""

    def __init__(self, url, key):
        self.url = url.rstrip("/")
        self.key = key

    def send(self, method, path, body=None):
        """Sends a request until it is answered: the answer and its headers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-KEY": self.key, "Content-Type": "application/json"}
        why = "never sent"
        for attempt in range(ATTEMPTS_MAX):
            if attempt > 0:
                time.sleep(pause_s(attempt, retry_after))
            retry_after = 0.0
            request = urllib.request.Request(self.url + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_MAX_S) as answer:
                    text = answer.read()
                    return (json.loads(text) if text else None), answer.headers
            except urllib.error.HTTPError as error:
                if error.code not in (502, 503, 504):
                    raise Refused(error.code, told(error)) from None
                retry_after = float(error.headers.get("Retry-After") or 0)
                why = f"{error.code}"
            except (OSError, ValueError, urllib.error.URLError) as error:
                # No connection, no answer in time, or half of one. It may have been done: the id makes it safe to ask.
                why = str(error)
        raise InDoubt(f"{method} {path}: {why}, {ATTEMPTS_MAX} times")

    def charge(self, order):
        """Charges or refunds. A final answer, or Pending."""
        return self.send("POST", "/transaction", order)[0]

    def outcome(self, ext_transaction_id, kind="charge", patience_s=30.0):
        """Asks what became of a transaction until that is final: its status, or Pending when patience is at its end."""
        until = time.monotonic() + patience_s
        attempt = 0
        while True:
            found, _ = self.send("GET", f"/transaction/{ext_transaction_id}?kind={kind}")
            attempt += 1
            if found["status"] != "Pending" or time.monotonic() > until:
                return found
            time.sleep(pause_s(attempt, 0.0))


def pause_s(attempt, retry_after_s):
    """Seconds before the next attempt: growing, spread out, and never less than the gateway has asked for."""
    longest = min(FIRST_PAUSE_S * 2 ** (attempt - 1), PAUSE_MAX_S)
    return retry_after_s + random.uniform(longest / 2, longest)


def told(error):
    """What a refusal says; something in between may say it in another way."""
    try:
        return json.loads(error.read())
    except ValueError:
        return {}
