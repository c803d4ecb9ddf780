//! Claims about settings that cannot stand together: one row for each.
//!
//! Invariant: every row is refused by the name of its key and with what is allowed, and with nothing else.

use onbill::domain::api_key::KeyDigest;

use super::refused_with;

/// What is laid over the minimal file, and what is said of it, origins aside.
const IMPOSSIBLE: &[(&str, &str)] = &[
    (
        "[server]\ndeadline_min_ms = 20000",
        "server.deadline_min_ms: is 20000, must be at most server.deadline_default_ms, 10000",
    ),
    (
        "[server]\ndeadline_max_ms = 9000",
        "server.deadline_max_ms: is 9000, must be at least server.deadline_default_ms, 10000",
    ),
    (
        "[csp.my-csp]\ncall_timeout_ms = 10000\n[charge]\nlease_s = 60",
        "csp.my-csp.call_timeout_ms: is 10000, must be less than server.deadline_default_ms, 10000",
    ),
    (
        "[charge]\nlease_s = 30",
        "charge.lease_s: is 30, must be more seconds than the 30600 milliseconds of server.deadline_max_ms and csp.sandbox.call_timeout_ms together",
    ),
    (
        "[server]\ndeadline_max_ms = 60000",
        "charge.lease_s: is 40, must be more seconds than the 60600 milliseconds of server.deadline_max_ms and csp.sandbox.call_timeout_ms together",
    ),
    (
        "[server]\nlisten = '127.0.0.1:9090'",
        "server.admin_listen: is 127.0.0.1:9090, must be another address than server.listen, 127.0.0.1:9090",
    ),
    (
        "[server]\nlisten = '0.0.0.0:9090'",
        "server.admin_listen: is 127.0.0.1:9090, must be another address than server.listen, 0.0.0.0:9090",
    ),
    (
        "[pin]\nsends_per_partner_max = 11",
        "pin.sends_per_partner_max: is 11, must be at most pin.sends_per_address_max, 10",
    ),
    (
        "[log]\nfilter = 'onbill=loud'",
        "log.filter: is \"onbill=loud\", must be a list of levels and directives, like info,onbill=debug",
    ),
    (
        "[csp.my-csp]\ncurrency = 'XXQ'",
        "csp.my-csp.currency: is \"XXQ\", must be a currency of ISO 4217 that has a minor unit, like MXN",
    ),
    (
        "[csp.my-csp]\ncurrency = 'XAU'",
        "csp.my-csp.currency: is \"XAU\", must be a currency of ISO 4217 that has a minor unit, like MXN",
    ),
    (
        "[csp.my-csp]\nmsisdn_pattern = '[0-9]+'",
        "csp.my-csp.msisdn_pattern: is \"[0-9]+\", must be a regular expression from ^ to $, like ^[0-9]{10}$",
    ),
    (
        "[csp.my-csp]\nmsisdn_pattern = '^[0-9$'",
        "csp.my-csp.msisdn_pattern: is \"^[0-9$\", must be a regular expression from ^ to $, like ^[0-9]{10}$",
    ),
    (
        "[csp.my-csp]\nprefixes = ['52x']",
        "csp.my-csp.prefixes: must be beginnings of numbers: digits, or \"\" for all numbers",
    ),
    (
        "[csp.my-csp]\namount_max = '10.5'",
        "csp.my-csp.amount_max: is \"10.5\", must be an amount above 0 with at most the decimals of JPY, like 1500.00",
    ),
    (
        "[csp.my-csp]\namount_max = '0'",
        "csp.my-csp.amount_max: is \"0\", must be an amount above 0 with at most the decimals of JPY, like 1500.00",
    ),
    (
        "[csp.my-csp]\ntime_zone = 'Mexico'",
        "csp.my-csp.time_zone: is \"Mexico\", must be a time zone of the IANA, like America/Mexico_City",
    ),
    (
        "[csp.my-csp.test_numbers]\npattern = '^5$'",
        "csp.my-csp.test_numbers.sends_max: must be set: most PIN messages to one number in a window",
    ),
    (
        "[csp.my-csp.test_numbers]\nsends_max = 5",
        "csp.my-csp.test_numbers.pattern: must be set: a regular expression from ^ to $, like ^[0-9]{10}$",
    ),
    (
        "[csp.my-csp.sms]\npin_text = 'PIN {pin}, call 5550100001'",
        "csp.my-csp.sms.pin_text: must hold {pin} once, with no digit beside it and no other run of six digits",
    ),
    (
        "[csp.my-csp.sms]\nlanguage = 'e'",
        "csp.my-csp.sms.language: is \"e\", must be a language tag (BCP 47), like es-MX",
    ),
    (
        "[partner.my-ott.sms]\nsender = 'Mine'\nlanguage = 'es'",
        "partner.my-ott.sms.pin_text: must be set where the partner has a message of its own",
    ),
    (
        "[partner.my-ott.sms]\nsender = 'Mine'\nlanguage = 'es'\npin_text = 'no pin'",
        "partner.my-ott.sms.pin_text: must hold {pin} once, with no digit beside it and no other run of six digits",
    ),
    (
        "[partner.my-ott]\ncsps = ['my-csp', 'nobody']",
        "partner.my-ott.csps: names the CSP \"nobody\", but there is no [csp.nobody]",
    ),
    ("[partner.my-ott]\ncsps = ['my-csp', 'my-csp']", "partner.my-ott.csps: names the CSP \"my-csp\" twice"),
    (
        "[partner.my-ott.product.gold.charge_codes]\nnobody = '1'",
        "partner.my-ott.product.gold.charge_codes.nobody: nobody is none of the partner's csps: my-csp, sandbox",
    ),
    (
        "[partner.my-ott.product.empty.charge_codes]",
        "partner.my-ott.product.empty.charge_codes: must name the product at one CSP at least",
    ),
    (
        "[partner.other]\ncsps = ['my-csp']",
        "partner.other.key_sha256: must be set: the SHA-256 digest of the partner's API key, which onbill key new makes; or [partner.<id>.key.<name>], certificates, or a client in [issuer.<id>.clients]",
    ),
    (
        "[partner.other]\nkey_sha256 = ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa']\ncsps = ['my-csp']",
        "partner.other.key_sha256: holds aaaaaaaa…, which is a key of my-ott already: each key is for one partner",
    ),
    (
        "[csp.empty.sms]\nsender = 'x'",
        "csp.empty.adapter: must be set: one of \"sandbox\", \"http\", \"grpc\"\ncsp.empty.currency: must be set: a currency of ISO 4217, like MXN\ncsp.empty.msisdn_pattern: must be set: a regular expression from ^ to $, like ^[0-9]{10}$",
    ),
    (
        "[partner.empty]\npin_before_first_charge_minutes = 1",
        "partner.empty.csps: must be set: the ids of the partner's CSPs, the first of them for addresses of none\npartner.empty.key_sha256: must be set: the SHA-256 digest of the partner's API key, which onbill key new makes; or [partner.<id>.key.<name>], certificates, or a client in [issuer.<id>.clients]",
    ),
    (
        "[partner.my-ott.webhook]\nallow_private = true",
        "partner.my-ott.webhook.secrets: must be set: what events are signed with, whsec_ and 24 to 64 bytes in base64\npartner.my-ott.webhook.url: must be set: where events are posted to",
    ),
    (
        "[partner.my-ott.webhook]\nurl = 'http://example.com/'\nsecrets = ['whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA']",
        "partner.my-ott.webhook.url: must be a URL like https://example.com/events, without a user; http only where allow_private is true",
    ),
    (
        "[partner.my-ott.webhook]\nurl = 'https://me:word@example.com/'\nsecrets = ['whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA']",
        "partner.my-ott.webhook.url: must be a URL like https://example.com/events, without a user; http only where allow_private is true",
    ),
    (
        "[partner.my-ott.webhook]\nurl = 'ftp://example.com/'\nallow_private = true\nsecrets = ['whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA']",
        "partner.my-ott.webhook.url: must be a URL like https://example.com/events, without a user; http only where allow_private is true",
    ),
    (
        "[partner.my-ott.webhook]\nurl = 'https://example.com/'\nsecrets = ['whsec_short']",
        "partner.my-ott.webhook.secrets: must be a list of 1 to 2 secrets, each whsec_ and 24 to 64 bytes in base64",
    ),
    (
        "[csp.my-csp]\nurl = 'http://csp.example'\napi_key = 'k'",
        "csp.my-csp.url: is of the adapters \"http\" and \"grpc\" only\ncsp.my-csp.api_key: is of the adapters \"http\" and \"grpc\" only",
    ),
    (
        "[csp.my-csp]\nadapter = 'http'",
        "csp.my-csp.url: must be set for the adapters \"http\" and \"grpc\": an http or https URL without user, query or fragment, like https://csp.example/api",
    ),
    (
        "[csp.my-csp]\nadapter = 'http'\nurl = 'https://me:secret@csp.example'",
        "csp.my-csp.url: must be an http or https URL without user, query or fragment, like https://csp.example/api",
    ),
    (
        "[csp.my-csp]\nadapter = 'http'\nurl = 'csp.example'",
        "csp.my-csp.url: must be an http or https URL without user, query or fragment, like https://csp.example/api",
    ),
    ("[ephemeral]\nstore = 'redis'", "redis.addresses: must be set where ephemeral.store is \"redis\""),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1', 'b:2']",
        "redis.addresses: are 2, must be one where redis.mode is \"standalone\"",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['redis://a:1']",
        "redis.addresses: holds \"redis://a:1\", must be hosts with their ports, like redis.example:6379",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nmode = 'sentinel'",
        "redis.sentinel_master: must be set where redis.mode is \"sentinel\"",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nsentinel_master = 'm'",
        "redis.sentinel_master: is of the mode \"sentinel\" only",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1', 'b:2']\nmode = 'cluster'\ndatabase = 1",
        "redis.database: is 1, must be 0 where redis.mode is \"cluster\": a Cluster has no other",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nuser = 'me'",
        "redis.user: has no password: redis.password_file or redis.password must be set",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nca_file = '/ca.pem'",
        "redis.ca_file: trusts nobody where redis.tls is false",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nkey_prefix = 'a{b}'",
        "redis.key_prefix: is \"a{b}\", must be of A-Z, a-z, 0-9, '.', '_', ':' and '-'",
    ),
    (
        "[ephemeral]\nstore = 'redis'\n[redis]\naddresses = ['a:1']\nresponse_timeout_ms = 10000",
        "redis.response_timeout_ms: is 10000, must be less than server.deadline_default_ms, 10000",
    ),
    (
        "[csp.my-csp.limit.day]",
        "csp.my-csp.limit.day.transaction_max: must be set, or day_max or month_max: there is nothing to hold charges against",
    ),
    (
        "[csp.my-csp.limit.day]\nday_max = '10.5'",
        "csp.my-csp.limit.day.day_max: is \"10.5\", must be an amount above 0 with at most the decimals of JPY, like 300",
    ),
    (
        "[csp.my-csp.limit.day]\nday_max = '300'\nmonth_max = '200'",
        "csp.my-csp.limit.day.day_max: must be at most month_max: it could never be reached",
    ),
    (
        "[csp.my-csp.limit.day]\ntransaction_max = '300'\nmonth_max = '200'",
        "csp.my-csp.limit.day.transaction_max: must be at most month_max: it could never be reached",
    ),
    (
        "[csp.my-csp.limit.day]\npreset = 'psd2'",
        "csp.my-csp.limit.day.preset: is \"psd2\", which is for EUR, and the CSP bills in JPY",
    ),
    (
        "[csp.my-csp]\ncurrency = 'EUR'\n[csp.my-csp.limit.day]\npreset = 'psd2'\nmonth_max = '300.01'",
        "csp.my-csp.limit.day.month_max: is \"300.01\", must be at most the preset's 300.0",
    ),
    (
        "[csp.my-csp]\ncurrency = 'EUR'\n[csp.my-csp.limit.day]\npreset = 'psd2'\neach = ['address', 'partner']",
        "csp.my-csp.limit.day.each: must be [\"address\"] where preset is \"psd2\": it is for each subscriber as a whole",
    ),
    (
        "[csp.my-csp.limit.day]\nday_max = '9'\neach = ['household']",
        "csp.my-csp.limit.day.each: must be some of \"address\", \"partner\", \"product\"",
    ),
    (
        "[csp.my-csp.limit.day]\nday_max = '9'\npartners = ['my-ott', 'demo-ott']",
        "csp.my-csp.limit.day.partners: names \"demo-ott\", which is no partner of the CSP my-csp",
    ),
    (
        "[csp.my-csp.limit.day]\nday_max = '9'\nproducts = ['gold', 'silver']",
        "csp.my-csp.limit.day.products: names \"silver\", which no partner sells through the CSP my-csp",
    ),
    (
        "[csp.my-csp.limit]\na.day_max = '1'\nb.day_max = '1'\nc.day_max = '1'\nd.day_max = '1'\ne.day_max = '1'\nf.day_max = '1'\ng.day_max = '1'\nh.day_max = '1'\ni.day_max = '1'",
        "csp.my-csp.limit: are 9, must be at most 8",
    ),
    ("[csp.my-csp.verdicts]\ncode = ''", "csp.my-csp.verdicts.code: is \"\", must be a text of 1 to 128 characters"),
    (
        "[partner.my-ott.key.next]\nsha256 = 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'\nexpires_at = '2199-01-01T00:00:00Z'\n[partner.my-ott.key.third]\nsha256 = 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc'",
        "partner.my-ott.key: the partner has 3 keys that are good now, and may have 2: the one in use and the next; each more is one that nobody would miss if it were stolen. Take an old one out, or give it an expires_at",
    ),
    (
        "[partner.my-ott.key.next]\nscopes = ['pins']",
        "partner.my-ott.key.next.sha256: must be set: the SHA-256 digest of the key; onbill key new makes both",
    ),
    (
        "[partner.my-ott.key.next]\nsha256 = 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'\nexpires_at = '2027-01-31'",
        "partner.my-ott.key.next.expires_at: is \"2027-01-31\", must be a moment of RFC 3339, like 2027-01-31T00:00:00Z",
    ),
    (
        "[partner.my-ott]\ncertificates = ['dns:shop.example']",
        "partner.my-ott.certificates: are shown to nobody: server.tls.client_ca_file must be set, whom client certificates are of",
    ),
    (
        "[partner.my-ott]\ncertificate_required = true",
        "partner.my-ott.certificates: must be set where certificate_required or certificate_scopes is",
    ),
    ("[server.tls]\ncert_file = '/c'", "server.tls.key_file: must be set: a certificate needs its private key"),
    (
        "[server.tls]\nclient_ca_file = '/c'",
        "server.tls.cert_file: must be set where client_ca_file is: only TLS asks for certificates",
    ),
    (
        "[server.tls]\ncert_file = '/c'\nkey_file = '/k'\nclient_crl_file = '/r'",
        "server.tls.client_ca_file: must be set where client_crl_file is: the lists are of these authorities",
    ),
    (
        "[issuer.id]\njwks_file = '/j'\naudiences = ['a']\n[issuer.id.clients]\nshop = 'my-ott'",
        "issuer.id.issuer: must be set: what iss is in its tokens, like https://id.example/realms/ott",
    ),
    (
        "[issuer.id]\nissuer = 'i'\njwks_file = '/j'\n[issuer.id.clients]\nshop = 'my-ott'",
        "issuer.id.audiences: must be set: what aud must hold, so that tokens for others are not taken",
    ),
    (
        "[issuer.id]\nissuer = 'i'\naudiences = ['a']\njwks_file = '/j'",
        "issuer.id.clients: must be set: which of its clients is which partner",
    ),
    (
        "[issuer.id]\nissuer = 'i'\naudiences = ['a']\njwks_file = '/j'\n[issuer.id.clients]\nshop = 'nobody'",
        "issuer.id.clients.shop: names the partner \"nobody\", but there is no [partner.nobody]",
    ),
    (
        "[issuer.id]\nissuer = 'i'\naudiences = ['a']\njwks_url = 'http://id.example/jwks'\n[issuer.id.clients]\nshop = 'my-ott'",
        "issuer.id.jwks_url: must be an https URL without a user; http only on this machine, http://127.0.0.1:8180/…",
    ),
    (
        "[issuer.id]\nissuer = 'i'\naudiences = ['a']\njwks_file = '/j'\nrefresh_s = 9\n[issuer.id.clients]\nshop = 'my-ott'",
        "issuer.id.pause_ms: is 10000, must be at most refresh_s",
    ),
];

#[test]
fn impossible_combinations_are_refused_by_name() {
    for (addition, expected) in IMPOSSIBLE {
        let problems = refused_with(addition);
        let without_origins: Vec<_> =
            problems.lines().map(|line| line.split(" (from ").next().unwrap_or(line)).collect();
        assert_eq!(&without_origins.join("\n"), expected, "{addition}");
    }
}

#[test]
fn a_verdict_fits_a_bill() {
    let long = format!("[csp.my-csp.verdicts]\ncode = '{}'", "x".repeat(129));
    let problems = refused_with(&long);
    assert!(problems.starts_with("csp.my-csp.verdicts.code: is \"xxxxx"), "{problems}");
    assert!(problems.contains("…, must be a text of 1 to 128 characters"), "{problems}");
}

#[test]
fn a_key_of_the_sandbox_is_nobody_elses() {
    let demo = KeyDigest::of(b"demo-key");
    let expected = "partner.my-ott.key_sha256: holds c48a01f4…, which is a key of demo-ott already: each key is for one \
                    partner (from file F)";
    assert_eq!(refused_with(&format!("[partner.my-ott]\nkey_sha256 = ['{demo}']")), expected);
}

#[test]
fn what_only_a_sandbox_may_have_is_refused_outside_of_it() {
    let digest = KeyDigest::of(b"other-key");
    let outside = format!(
        "[sandbox]\nenabled = false\n[server]\ndata_dir = '/d'\n[partner.my-ott]\nkey_sha256 = ['{digest}']\n\
         csps = ['my-csp']"
    );
    let expected = [
        "csp.my-csp.adapter: is \"sandbox\", which bills nobody: sandbox.enabled must be true, or the adapter another \
         one (from file F)",
        "partner.my-ott.key_sha256: holds 580843d0…, the digest of the public key other-key: only a sandbox may take \
         it (from file F)",
    ];
    assert_eq!(refused_with(&outside), expected.join("\n"));
}
