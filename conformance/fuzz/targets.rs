//! What is fuzzed: one function for each reader of bytes that come from outside, and what must hold whatever they are.
//!
//! Invariant: a target takes any bytes and panics only where a promise is broken. libFuzzer calls these functions
//! (`fuzz_targets/`), and so do ordinary tests, over the corpora and over made-up input: what a fuzzer has found stays
//! found.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::Time;
use onbill::domain::address::{Address, Email, Msisdn, masked};
use onbill::domain::catalogue::ErrorCode;
use onbill::domain::directory::{CspProfile, Directory, Partner, Route};
use onbill::domain::ids::{CspId, ExtNotificationId, ExtTransactionId, PartnerId, Reference};
use onbill::domain::money::{Currency, Decimal, Money};
use onbill::domain::transaction::request::{AddressTypes, read_address};
use onbill::domain::webhook::{Fate, Heard, RETRY_PAUSES_S, SigningSecret, judge};
use onbill::faces::json::JsonFace;
use onbill::faces::json::findings::Findings;
use onbill::faces::json::framed::Framed;
use onbill::faces::pb;
use onbill::faces::status::ApiError;
use onbill::ports::secrets::{Purpose, Secrets as _};
use onbill::runtime::config::{Config, Sources};
use prost::Message as _;
use prost::encoding::{decode_key, decode_varint};
use tonic::body::Body;

/// A target and its name, which is that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 6] = [
    ("transcoder", transcoder),
    ("amounts", amounts),
    ("numbers", numbers),
    ("configuration", configuration),
    ("account_ids", account_ids),
    ("webhooks", webhooks),
];

/// Most bytes of a request body.
const BODY_BYTES_MAX: usize = 65_536;

/// The numbers of the fields in which empty is not the same as absent.
const REFERENCE_ID: u32 = 9;
const EXT_NOTIFICATION_ID: u32 = 4;

/// A secret that no corpus has.
const OTHER_SECRET: &str = "whsec_f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f38=";

/// What a service behind the JSON face got.
#[derive(Debug, Clone, PartialEq)]
struct Reached {
    path: String,
    message: Vec<u8>,
    findings: Findings,
}

/// A JSON face before services that write down what reaches them, and refuse it.
struct Transcoder {
    face: JsonFace,
    reached: Arc<Mutex<Option<Reached>>>,
    runtime: tokio::runtime::Runtime,
}

impl Transcoder {
    fn new() -> Self {
        let reached: Arc<Mutex<Option<Reached>>> = Arc::default();
        let kept = Arc::clone(&reached);
        let services = tower::service_fn(move |request: Request<Body>| {
            let kept = Arc::clone(&kept);
            async move {
                let path = request.uri().path().to_owned();
                let findings = request.extensions().get::<Findings>().cloned().unwrap_or_default();
                let framed = request.into_body().collect().await.expect("a body in memory").to_bytes();
                let message = unframed(&framed);
                *kept.lock().expect("no panic in here") = Some(Reached { path, message, findings });
                let refusal = ApiError::new(ErrorCode::TransactionNotFound).into_status();
                Ok::<_, Infallible>(refusal.into_http::<Body>())
            }
        });
        let names = ["Account", "Pin", "Transaction", "Notification", "Sandbox", "Certification"];
        let names = names.map(|noun| format!("onbill.v1.{noun}Service"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let face =
            JsonFace::new(pb::DESCRIPTORS, &names, Arc::new(Framed(services)), "1").expect("the protos can be served");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { face, reached, runtime }
    }

    /// The answer's status and body, and what reached the services.
    fn run(&self, method: &str, target: &str, body: &[u8]) -> Option<(u16, Bytes, Option<Reached>)> {
        let request = Request::builder().method(method).uri(target).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).ok()?;
        *self.reached.lock().expect("no panic in here") = None;
        let (status, body) = self.runtime.block_on(async {
            let (head, body) = Response::into_parts(self.face.answer(request).await);
            (head.status.as_u16(), body.collect().await.expect("a body in memory").to_bytes())
        });
        Some((status, body, self.reached.lock().expect("no panic in here").take()))
    }
}

/// The message of a gRPC frame.
fn unframed(framed: &[u8]) -> Vec<u8> {
    let (head, message) = framed.split_first_chunk::<5>().expect("a frame has five bytes of its own");
    let [flag, length @ ..] = *head;
    assert_eq!((flag, u32::from_be_bytes(length)), (0, u32::try_from(message.len()).expect("a short message")));
    message.to_vec()
}

/// A request: method and target in the first line, the body after it. Whatever it is, the answer is one of the contract
/// and never a 500; the same request is read the same way again; and what was read, written as JSON, is read as the same
/// message, with nothing to complain of.
pub fn transcoder(data: &[u8]) {
    thread_local! {
        static TRANSCODER: Transcoder = Transcoder::new();
    }
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (head, body) = data.split_at(line);
    let body = body.get(1..).unwrap_or_default();
    let Some((method, target)) = std::str::from_utf8(head).ok().and_then(|head| head.split_once(' ')) else {
        return;
    };
    TRANSCODER.with(|transcoder| {
        let Some(first) = transcoder.run(method, target, body) else {
            return;
        };
        let (status, answer, reached) = &first;
        assert!(matches!(status, 200 | 400 | 404 | 405), "{status} {answer:?}");
        assert!(serde_json::from_slice::<serde_json::Value>(answer).is_ok_and(|json| json.is_object()), "{answer:?}");
        assert_eq!(transcoder.run(method, target, body).as_ref(), Some(&first), "the same again");
        if let Some(reached) = reached {
            written_again(transcoder, reached);
        }
    });
}

/// Holds the message of a charge or a notification against its own JSON.
fn written_again(transcoder: &Transcoder, reached: &Reached) {
    let (target, json, optional) = match reached.path.as_str() {
        "/onbill.v1.TransactionService/CreateTransaction" => {
            let message = pb::v1::CreateTransactionRequest::decode(&reached.message[..]).expect("a message");
            assert_eq!(message.encode_to_vec(), told(&reached.message, REFERENCE_ID), "nothing else is in it");
            let fields = [
                ("extTransactionId", message.ext_transaction_id),
                ("type", message.r#type),
                ("address", message.address),
                ("accountId", message.account_id),
                ("partnerProduct", message.partner_product),
                ("amount", message.amount),
                ("currency", message.currency),
                ("description", message.description),
            ];
            ("/transaction", object(fields, ("referenceId", message.reference_id)), REFERENCE_ID)
        }
        "/onbill.v1.NotificationService/SendNotification" => {
            let message = pb::v1::SendNotificationRequest::decode(&reached.message[..]).expect("a message");
            assert_eq!(message.encode_to_vec(), told(&reached.message, EXT_NOTIFICATION_ID), "nothing else is in it");
            let fields = [("type", message.r#type), ("address", message.address), ("message", message.message)];
            let optional = ("extNotificationId", message.ext_notification_id);
            ("/notification", object(fields, optional), EXT_NOTIFICATION_ID)
        }
        _ => return,
    };
    if json.len() > BODY_BYTES_MAX {
        return;
    }
    let (_, _, again) = transcoder.run("POST", target, json.as_bytes()).expect("a request");
    let again = again.expect("it reaches the services");
    assert_eq!((again.message, again.findings), (told(&reached.message, optional), Findings::default()), "{json}");
}

/// A message of texts without those that are empty, which say nothing unless they are optional.
fn told(message: &[u8], optional: u32) -> Vec<u8> {
    let (mut rest, mut kept) = (message, Vec::new());
    while !rest.is_empty() {
        let field = rest;
        let (number, _) = decode_key(&mut rest).expect("a key");
        let length = usize::try_from(decode_varint(&mut rest).expect("a length")).expect("a short text");
        rest = rest.split_at(length).1;
        if length > 0 || number == optional {
            kept.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    kept
}

/// The fields that are not empty, and the optional one if it is there.
fn object<const N: usize>(fields: [(&str, String); N], optional: (&str, Option<String>)) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = fields
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    if let (name, Some(text)) = optional {
        object.insert(name.to_owned(), text.into());
    }
    serde_json::Value::Object(object).to_string()
}

/// A text: it is an amount where the contract's grammar says so, and what is printed is the same amount again.
pub fn amounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = Decimal::parse(text);
    assert_eq!(read.is_some(), is_amount(text), "{text:?}");
    let currencies = ["MXN", "JPY", "KWD", "CLF"].map(|code| Currency::from_code(code).expect("a currency"));
    for currency in currencies {
        if let Some(money) = Money::parse(text, currency) {
            assert_eq!(Money::parse(&money.to_string(), currency), Some(money), "{text:?}");
            assert_eq!(money.to_decimal().to_minor(currency), Some(money.minor), "{text:?}");
        }
    }
    let Some(amount) = read else {
        return;
    };
    let printed = amount.to_string();
    assert_eq!(Decimal::parse(&printed), Some(amount), "{text:?} {printed:?}");
    let tail = printed.split_once('.').map(|(_, tail)| tail).expect("at least one decimal");
    assert!(tail.len() == 1 || !tail.ends_with('0'), "{printed}");
    let is_zero = text.bytes().all(|byte| !byte.is_ascii_digit() || byte == b'0');
    let sign = if is_zero {
        Ordering::Equal
    } else if text.starts_with('-') {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    assert_eq!(amount.sign(), sign, "{text:?}");
    for currency in currencies {
        assert_eq!(amount.to_minor(currency).is_some(), amount.decimals() <= currency.decimals(), "{text:?}");
    }
}

/// `-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,18})?`, told a second time.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let are_digits =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole, 12) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(|f| are_digits(f, 18))
}

/// An address in the first line, and prefixes of a CSP in each of the next: it leads to the longest that fits, the first
/// of equals; and no part of it but its last two characters is printed.
pub fn numbers(data: &[u8]) {
    thread_local! {
        static SAMPLES: (CspProfile, Partner) = samples();
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n').take(9);
    let number = lines.next().unwrap_or_default();
    for types in [AddressTypes::MsisdnOnly, AddressTypes::MsisdnAndEmail] {
        for word in ["MSISDN", "EMAIL", "", number] {
            let read = read_address(word, number, types);
            assert_eq!(read.address.is_none(), !read.violations.is_empty(), "{word:?} {number:?}");
        }
    }
    // What is printed of it, told a second time.
    let tail = if number.chars().count() > 4 {
        number.char_indices().rev().nth(1).and_then(|(at, _)| number.get(at..)).unwrap_or_default()
    } else {
        ""
    };
    assert_eq!(masked(number), format!("****{tail}"), "{number:?}");
    let (kind, address) = match Email::parse(number) {
        Some(email) => ("Email", Address::Email(email)),
        None => ("Msisdn", Address::Msisdn(Msisdn::new(number))),
    };
    assert_eq!(format!("{address:?}"), format!("{kind}(****{tail})"), "{number:?}");
    for id in [ExtTransactionId::parse(number).is_some(), ExtNotificationId::parse(number).is_some()] {
        assert_eq!(id, is_id(number), "{number:?}");
    }
    if let Some(reference) = Reference::parse(number) {
        assert_eq!(reference.to_string(), number.to_ascii_lowercase());
    }

    let prefixes: Vec<Vec<String>> = lines.map(|line| line.split(',').map(str::to_owned).collect()).collect();
    if prefixes.is_empty() {
        return;
    }
    SAMPLES.with(|(profile, partner)| {
        let id = |place: usize| CspId::new(&format!("csp-{place}"));
        let csps: Vec<CspProfile> = prefixes
            .iter()
            .enumerate()
            .map(|(place, prefixes)| CspProfile { id: id(place), prefixes: prefixes.clone(), ..profile.clone() })
            .collect();
        let partner = Partner { csps: csps.iter().map(|csp| csp.id.clone()).collect(), ..partner.clone() };
        let directory = Directory::new(vec![partner.clone()], csps).expect("a directory");
        let found = match directory.route(&partner, &Address::Msisdn(Msisdn::new(number))) {
            Some(Route::To(profile)) => Some(profile.id.clone()),
            Some(Route::Nowhere(_)) => None,
            None => panic!("the partner is of this directory"),
        };
        let mut longest: Option<(usize, CspId)> = None;
        for (place, prefixes) in prefixes.iter().enumerate() {
            for prefix in prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())) {
                if longest.as_ref().is_none_or(|(length, _)| *length < prefix.len()) {
                    longest = Some((prefix.len(), id(place)));
                }
            }
        }
        assert_eq!(found, longest.map(|(_, id)| id), "{number:?} {prefixes:?}");
    });
}

/// A CSP and a partner to change.
fn samples() -> (CspProfile, Partner) {
    let sandbox = Config::load(&Sources::default()).expect("the sandbox").directory;
    let profile = CspProfile::clone(sandbox.csps().next().expect("a CSP"));
    (profile, Partner::clone(sandbox.partners().next().expect("a partner")))
}

fn is_id(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ['.', '_', ':', '-'].contains(&letter);
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

/// A configuration file: it is one, or there is at least one reason why not; and reading it again says the same.
pub fn configuration(data: &[u8]) {
    thread_local! {
        static FILE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }
    let file = FILE.with_borrow_mut(|kept| kept.get_or_insert_with(own_file).clone());
    std::fs::write(&file, data).expect("a file");
    let sources = Sources { file: Some(file), ..Sources::default() };
    let load = || match Config::load(&sources) {
        Ok(config) => Ok((format!("{:?}", config.server), config.directory.partners().count())),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            Err(problems.to_string())
        }
    };
    assert_eq!(load(), load());
}

/// A file that no other thread writes.
fn own_file() -> PathBuf {
    let name = format!("onbill-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id());
    std::env::temp_dir().join(name)
}

/// An account id: only what was sealed here, for this partner and this purpose, is opened, and to what was sealed.
pub fn account_ids(data: &[u8]) {
    thread_local! {
        static SECRETS: SeededSecrets = SeededSecrets::new(1);
    }
    SECRETS.with(|secrets| {
        let (partner, other) = (PartnerId::new("demo-ott"), PartnerId::new("other-ott"));
        if let Ok(text) = std::str::from_utf8(data)
            && let Some(plain) = secrets.open(Purpose::AccountId, &partner, text)
        {
            assert_eq!(secrets.seal(Purpose::AccountId, &partner, &plain), text, "it has one form");
        }
        let sealed = secrets.seal(Purpose::AccountId, &partner, data);
        assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{sealed}");
        assert_eq!(secrets.open(Purpose::AccountId, &partner, &sealed).as_deref(), Some(data));
        assert_eq!(secrets.open(Purpose::AccountId, &other, &sealed), None, "another partner's");
        assert_eq!(secrets.open(Purpose::PageToken, &partner, &sealed), None, "for something else");
        let place = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % sealed.len();
        let mut changed = sealed.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert_eq!(secrets.open(Purpose::AccountId, &partner, &changed), None, "changed at {place}");
        assert_eq!(secrets.open(Purpose::AccountId, &partner, &sealed[1..]), None, "cut");
    });
}

/// A secret, an id, a time and a `Retry-After`, a line each, and then a body: a secret is one or none, every part is under
/// the signature, and no endpoint's answer brings an event back sooner than the schedule, or for ever.
pub fn webhooks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (secret_text, id, time, retry_after, body) = (line(), line(), line(), line(), line());
    let time: i64 = time.parse().unwrap_or_default();
    if let Some(secret) = SigningSecret::parse(secret_text) {
        assert_eq!(format!("{secret:?}"), "whsec_…");
        let signature = secret.sign(id, time, body);
        assert!(signature.strip_prefix("v1,").is_some_and(|rest| rest.len() == 44), "{signature}");
        assert_eq!(signature, secret.sign(id, time, body));
        for other in [
            secret.sign(&format!("{id}x"), time, body),
            secret.sign(id, time.wrapping_add(1), body),
            secret.sign(id, time, &format!("{body}x")),
        ] {
            assert_ne!(signature, other);
        }
        let other = SigningSecret::parse(OTHER_SECRET).expect("a secret").sign(id, time, body);
        // HMAC knows no difference between keys that end in more or fewer zero bytes; this one ends in none.
        assert_eq!(signature == other, secret_text == OTHER_SECRET);
    }
    let now = Time::from_second(time).unwrap_or(Time::UNIX_EPOCH);
    let attempts = u32::try_from(id.len()).unwrap_or_default();
    let status = u16::try_from(body.len()).unwrap_or_default();
    let heard = Heard::Answered { status, retry_after: Some(retry_after.to_owned()) };
    if let Fate::Again { at, note } = judge(attempts, &heard, now, 0) {
        let least = attempts.checked_sub(1).and_then(|place| RETRY_PAUSES_S.get(usize::try_from(place).ok()?));
        let wait_s = at.duration_since(now).as_secs();
        let least_s = i64::from(*least.expect("only scheduled attempts come again"));
        assert!(at == Time::MAX || (least_s..=86_400).contains(&wait_s), "{wait_s} s");
        let silent = judge(attempts, &Heard::Answered { status, retry_after: None }, now, 0);
        assert!(
            matches!(silent, Fate::Again { note: other, .. } if other == note),
            "an endpoint's words are not repeated"
        );
    }
}
