#!/bin/sh
# A purchase with curl: is the account fit, whose phone is it, charge, look, give back, say thanks.
#
#   sh purchase.sh NUMBER [ORDER]
#
# ORDER is your id of this purchase. Make it once, write it down before the first call, and use it for every repeat.
# Run this again with the same ORDER, whatever happened the first time: nobody is charged twice.
#
# From the environment: ONBILL_URL (default http://127.0.0.1:8080), ONBILL_KEY (default the sandbox's demo-key), and
# ONBILL_PIN=ask to type the PIN; otherwise it is read from the sandbox's phone.
#
# Exit codes: 0 done, 1 refused, 2 the charge failed, 75 in doubt: run it again later with the same ORDER.
set -u
number=$1
order=${2:-order-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')}
url=${ONBILL_URL:-http://127.0.0.1:8080}
attempts_max=5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The key goes by a file that only you can read, since arguments of a program can be seen by everybody.
(umask 077 && printf 'header = "X-API-KEY: %s"\n' "${ONBILL_KEY:-demo-key}" >"$work/key")

doubt() {
  echo "in doubt: $*; run again later with the order $order" >&2
  exit 75
}

# send METHOD PATH [BODY]: leaves the answer in $work/answer. The same request goes out again, under the same id, after 503
# and after every doubt (no connection, no answer, a 502 or 504 of something in between), and after nothing else; with
# pauses that grow, of which no two are alike, and never shorter than Retry-After says.
send() {
  attempt=1
  while :; do
    status=$(curl -sS -K "$work/key" -H 'Content-Type: application/json' --max-time 15 -X "$1" ${3+-d "$3"} \
      -o "$work/answer" -D "$work/headers" -w '%{http_code}' "$url$2" 2>"$work/error") || status=000
    case $status in
      2??) return 0 ;;
      000 | 502 | 503 | 504) ;;
      *)
        echo "refused: $status $(cat "$work/answer")" >&2
        exit 1
        ;;
    esac
    [ "$attempt" -lt "$attempts_max" ] || doubt "$1 $2: $status, $attempt times"
    asked=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]*\).*/\1/p' "$work/headers" 2>/dev/null)
    random=$(od -An -N2 -tu2 /dev/urandom)
    sleep "$(awk -v n="$attempt" -v asked="${asked:-0}" -v r="$random" \
      'BEGIN { p = 0.5 * 2 ^ (n - 1); if (p > 5) p = 5; print asked + p / 2 + p / 2 * r / 65535 }')"
    : >"$work/headers"
    attempt=$((attempt + 1))
  done
}

# field NAME: a text of the answer. Enough for what onbill answers; for more there is jq.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$work/answer"; }

# final ID KIND: asks until the transaction is final, and leaves its status in $outcome.
final() {
  asked_so_far=0
  while :; do
    send GET "/transaction/$1?kind=$2"
    outcome=$(field status)
    [ "$outcome" = Pending ] || return 0
    asked_so_far=$((asked_so_far + 1))
    [ "$asked_so_far" -lt 30 ] || doubt "the $2 $1 is still Pending"
    sleep 1
  done
}

who='"type":"MSISDN","address":"'$number'"'
send POST /account/validate "{$who,\"partnerProduct\":\"ott-basic\"}"
echo "account: $(field status), $(field type)"

send POST /pin "{$who}"
if [ "${ONBILL_PIN:-}" = ask ]; then
  printf 'PIN: '
  read -r pin
else
  send GET "/sandbox/messages?address=$number"
  # The newest message is the first.
  pin=$(grep -oE '"text":"[^"]*"' "$work/answer" | head -n 1 | grep -oE '[0-9]{6}' | head -n 1)
fi
send POST /pin/validation "{$who,\"pin\":\"$pin\"}"
echo "the phone is the customer's"

# Everything of the order stands here once. A repeat that differs in anything is another request, and is refused.
product='"partnerProduct":"ott-basic","currency":"MXN","description":"Films in November"'
send POST /transaction "{\"extTransactionId\":\"$order\",$who,$product,\"amount\":\"9.99\"}"
outcome=$(field status)
echo "charge $order: $outcome, $(field description)"
# Pending: the operator has not answered. Do not charge again under another id: ask.
if [ "$outcome" = Pending ]; then
  final "$order" charge
  echo "charge $order: $outcome, $(field message)"
fi
[ "$outcome" = Success ] || exit 2

# A refund has an id of its own, which is kept like the order's, and names the charge.
send POST /transaction "{\"extTransactionId\":\"$order-refund\",\"referenceId\":\"$order\",$who,$product,\"amount\":\"-9.99\"}"
outcome=$(field status)
[ "$outcome" != Pending ] || final "$order-refund" refund
echo "refund $order-refund: $outcome"

# With an id a text is sent once, however often the request is.
send POST /notification "{$who,\"message\":\"Your purchase was given back.\",\"extNotificationId\":\"$order-thanks\"}"
echo "the customer was told"
