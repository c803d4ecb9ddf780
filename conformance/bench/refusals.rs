//! `cargo bench --bench refusals`: how long the gateway takes to refuse, for each thing that can be wrong with a credential,
//! over both faces, seen from outside.
//!
//! Invariant: every round asks each question once, in an order of its own, over connections that are kept, so that whatever
//! else the machine does meets all questions alike. What is compared is told with an interval; one question is asked twice
//! under two names, to show what chance alone looks like, and one differs on purpose, to show that a difference would be
//! seen. Nothing is held against a figure here.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "it is run by hand and prints figures for people"
)]

#[path = "../gateway/callers/issuer.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod issuer;
#[path = "../gateway/process.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod process;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use onbill::domain::api_key::KeyDigest;
use serde_json::{Value, json};

use issuer::{Endpoint, Mood, Signer, now_s};
use process::{Running, Setup};

/// Samples of a bootstrap.
const RESAMPLED: usize = 400;
/// Rounds before anything counts.
const WARM_UP: usize = 200;
/// Keys as `onbill key new` makes them: what is wrong with one cannot be seen by its length.
const GOOD_KEY: &str = "obk_4pXJm1qWc7Zt0sNe8rYb2uVd5gHa9kLfQwEiToRnMxC";
const OVER_KEY: &str = "obk_Zk3Lw9uTq2Rs6Vb8Xn1Mc5Pd7Fg0Hj4YaEiOuTyRwQs";
const NARROW_KEY: &str = "obk_Bt7Nq4Wm1Ks9Lp3Rx6Vz8Cd2Fg5Hj0YeAiUoTyRwQsM";
const REVOKED_KEY: &str = "obk_Hd5Gs8Jk2Lm6Np9Qr1St4Vw7Xz0Bc3FaEiOuTyRwQsDb";
const ISSUER: &str = "https://id.example";

/// Measures how long refusals take.
#[derive(Debug, Parser)]
struct Arguments {
    /// Calls of each kind over each face.
    #[arg(long, default_value_t = 5_000)]
    calls: usize,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is sent.
enum Sent {
    Nothing,
    /// Another key each time.
    FreshKey,
    /// Another key each time that differs from a good one in its last character only.
    NearlyGoodKey,
    Key(&'static str),
    Token(String),
}

/// A question, and the one that it is held against.
struct Kind {
    name: &'static str,
    against: Option<&'static str>,
    status: u16,
    sent: Sent,
}

/// A generator that needs no secrecy: Vigna's SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn letter(&mut self) -> char {
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[self.below(62)])
    }

    fn shuffle(&mut self, places: &mut [usize]) {
        for place in (1..places.len()).rev() {
            places.swap(place, self.below(place + 1));
        }
    }
}

impl Sent {
    fn header(&self, chance: &mut Chance) -> Option<(&'static str, String)> {
        match self {
            Self::Nothing => None,
            Self::FreshKey => {
                let letters: String = (4..GOOD_KEY.len()).map(|_| chance.letter()).collect();
                Some(("x-api-key", format!("obk_{letters}")))
            }
            Self::NearlyGoodKey => {
                let mut key = GOOD_KEY[..GOOD_KEY.len() - 1].to_owned();
                // The good one ends in C.
                key.push(if chance.next().is_multiple_of(2) { 'A' } else { 'B' });
                Some(("x-api-key", key))
            }
            Self::Key(key) => Some(("x-api-key", (*key).to_owned())),
            Self::Token(token) => Some(("authorization", format!("Bearer {token}"))),
        }
    }
}

/// Everything that is asked. Keys are held against a key of nobody, tokens against a forged one.
fn kinds(signer: &Signer) -> Vec<Kind> {
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "1" });
    let claims = |azp: &str, exp: i64, aud: &str, scope: &str| -> Value {
        json!({ "iss": ISSUER, "aud": aud, "azp": azp, "sub": "s", "scope": scope, "iat": now_s(), "exp": now_s() + exp })
    };
    let (hour, reads) = (36_000, "onbill:transactions:read");
    let by = |signer: &Signer, claims: Value| Sent::Token(signer.token(&header, &claims));
    let (stranger, good) = (Signer::ec(), claims("shop", hour, "onbill", reads));
    let mut elsewhere = good.clone();
    elsewhere["iss"] = json!("https://id.elsewhere");
    let kind = |name, against, status, sent| Kind { name, against: Some(against), status, sent };
    let (nobodys, forged) = ("key of nobody", "token, forged");
    vec![
        Kind { name: nobodys, against: None, status: 401, sent: Sent::FreshKey },
        kind("the same again", nobodys, 401, Sent::FreshKey),
        kind("key, one letter off a good one", nobodys, 401, Sent::NearlyGoodKey),
        kind("key that is over", nobodys, 401, Sent::Key(OVER_KEY)),
        kind("key that was taken out", nobodys, 401, Sent::Key(REVOKED_KEY)),
        kind("key of other scopes", nobodys, 403, Sent::Key(NARROW_KEY)),
        kind("no credential", nobodys, 401, Sent::Nothing),
        Kind { name: forged, against: None, status: 401, sent: by(&stranger, good.clone()) },
        kind("the same token again", forged, 401, by(&stranger, good.clone())),
        kind("forged, of no partner's client", forged, 401, by(&stranger, claims("none", hour, "onbill", reads))),
        kind("forged, and over", forged, 401, by(&stranger, claims("shop", -hour, "onbill", reads))),
        kind("signed, and over", forged, 401, by(signer, claims("shop", -hour, "onbill", reads))),
        kind("signed, of no partner's client", forged, 401, by(signer, claims("none", hour, "onbill", reads))),
        kind("signed, for somebody else", forged, 401, by(signer, claims("shop", hour, "other", reads))),
        kind("signed, of other scopes", forged, 403, by(signer, claims("shop", hour, "onbill", "onbill:pins"))),
        kind("another issuer (differs on purpose)", forged, 401, by(&stranger, elsewhere)),
        kind("malformed (differs on purpose)", forged, 401, Sent::Token("a.b.c".to_owned())),
    ]
}

fn config(keys: &Endpoint, is_revoked: bool) -> String {
    let digest = |key: &str| KeyDigest::of(key.as_bytes());
    let revoked = if is_revoked {
        String::new()
    } else {
        format!("[partner.other-ott.key.stolen]\nsha256 = \"{}\"\n", digest(REVOKED_KEY))
    };
    format!(
        "[sandbox]\nenabled = true\n[partner.demo-ott]\nkey_sha256 = [\"{}\"]\n\
         [partner.other-ott.key.over]\nsha256 = \"{}\"\nexpires_at = \"2020-01-01T00:00:00Z\"\n\
         [partner.other-ott.key.narrow]\nsha256 = \"{}\"\nscopes = [\"pins\"]\n{revoked}\
         [issuer.id]\nissuer = \"{ISSUER}\"\njwks_url = \"{}\"\naudiences = [\"onbill\"]\n\
         [issuer.id.clients]\nshop = \"demo-ott\"\n",
        digest(GOOD_KEY),
        digest(OVER_KEY),
        digest(NARROW_KEY),
        keys.url,
    )
}

/// The JSON face: one connection, one call at a time.
struct Json {
    stream: TcpStream,
    host: String,
}

impl Json {
    fn new(gateway: &Running) -> Self {
        let stream = TcpStream::connect(gateway.authority()).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        Self { stream, host: gateway.authority().to_owned() }
    }

    fn ask(&mut self, header: Option<&(&'static str, String)>) -> (u16, Duration) {
        let line = header.map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        let request = format!("GET /transactions HTTP/1.1\r\nhost: {}\r\n{line}\r\n", self.host);
        let mut answer = Vec::with_capacity(4_096);
        let mut buffer = [0; 4_096];
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).expect("sent");
        while !is_whole(&answer) {
            let count = self.stream.read(&mut buffer).expect("an answer");
            assert!(count > 0, "the connection stays");
            answer.extend_from_slice(&buffer[..count]);
        }
        let took = began.elapsed();
        let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|digits| digits.parse().ok());
        (status.expect("a status"), took)
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// The gRPC face: the same.
struct Grpc {
    runtime: tokio::runtime::Runtime,
    client: h2::client::SendRequest<Bytes>,
    host: String,
}

impl Grpc {
    fn new(gateway: &Running) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(gateway.authority()).await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            client
        });
        Self { runtime, client, host: gateway.authority().to_owned() }
    }

    fn ask(&mut self, header: Option<&(&'static str, String)>) -> (u16, Duration) {
        let path = "onbill.v1.TransactionService/ListTransactions";
        let mut request = http::Request::post(format!("http://{}/{path}", self.host))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some((name, value)) = header {
            request = request.header(*name, value);
        }
        let request = request.body(()).expect("a request");
        let client = self.client.clone();
        self.runtime.block_on(async {
            let mut client = client.ready().await.expect("the connection stays");
            let began = Instant::now();
            let (answer, mut body) = client.send_request(request, false).expect("sent");
            body.send_data(Bytes::from_static(&[0; 5]), true).expect("sent");
            let answer = answer.await.expect("an answer");
            let took = began.elapsed();
            let status = answer.headers().get("grpc-status").map(http::HeaderValue::as_bytes);
            // As HTTP has it, to compare with one list.
            let status = match status {
                Some(b"16") => 401,
                Some(b"7") => 403,
                _ => 0,
            };
            (status, took)
        })
    }
}

fn median(times: &mut [f64]) -> f64 {
    let middle = times.len() / 2;
    *times.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The difference of two medians, in microseconds, and the 95 % of a bootstrap over rounds.
fn difference(one: &[f64], other: &[f64], chance: &mut Chance) -> (f64, f64, f64) {
    let of = |one: &mut [f64], other: &mut [f64]| median(one) - median(other);
    let whole = of(&mut one.to_vec(), &mut other.to_vec());
    let mut resampled: Vec<f64> = (0..RESAMPLED)
        .map(|_| {
            let rounds: Vec<usize> = (0..one.len()).map(|_| chance.below(one.len())).collect();
            let pick = |times: &[f64]| rounds.iter().map(|round| times[*round]).collect::<Vec<_>>();
            of(&mut pick(one), &mut pick(other))
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    (whole, resampled[RESAMPLED / 40], resampled[RESAMPLED - 1 - RESAMPLED / 40])
}

/// How often one takes longer than the other (Mann and Whitney): 0.5 where they are alike, with its standard deviation
/// under that assumption.
fn longer(one: &[f64], other: &[f64]) -> (f64, f64) {
    let mut all: Vec<(f64, bool)> = one.iter().map(|time| (*time, true)).collect();
    all.extend(other.iter().map(|time| (*time, false)));
    all.sort_by(|left, right| left.0.total_cmp(&right.0));
    // Ties share their ranks.
    let (mut ranks, mut place) = (0.0, 0);
    while place < all.len() {
        let end = place + all[place..].iter().take_while(|(time, _)| time.total_cmp(&all[place].0).is_eq()).count();
        let rank = (place + 1 + end) as f64 / 2.0;
        ranks += rank * all[place..end].iter().filter(|(_, is_one)| *is_one).count() as f64;
        place = end;
    }
    let (n, m) = (one.len() as f64, other.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    (u / (n * m), ((n + m + 1.0) / (12.0 * n * m)).sqrt())
}

fn measure(
    kinds: &[Kind],
    calls: usize,
    chance: &mut Chance,
    mut ask: impl FnMut(Option<&(&'static str, String)>) -> (u16, Duration),
) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(calls); kinds.len()];
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    for round in 0..calls + WARM_UP {
        chance.shuffle(&mut order);
        for place in &order {
            let header = kinds[*place].sent.header(chance);
            let (status, took) = ask(header.as_ref());
            assert_eq!(status, kinds[*place].status, "{}", kinds[*place].name);
            if round >= WARM_UP {
                times[*place].push(took.as_secs_f64() * 1e6);
            }
        }
    }
    times
}

fn tell(face: &str, kinds: &[Kind], times: &[Vec<f64>], chance: &mut Chance) {
    println!(
        "\n{face}: microseconds; difference of medians with 95 %; how often it takes longer, in standard deviations"
    );
    for (kind, own) in kinds.iter().zip(times) {
        let mut sorted = own.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| sorted[(part * (sorted.len() - 1) as f64) as usize];
        let figures = format!("{:>7.1} ({:>6.1} to {:>7.1})", at(0.5), at(0.25), at(0.75));
        let against = kind.against.and_then(|name| kinds.iter().position(|other| other.name == name));
        let compared = against.map_or_else(String::new, |place| {
            let (difference, low, high) = difference(own, &times[place], chance);
            let (share, deviation) = longer(own, &times[place]);
            format!("{difference:>+7.2} ({low:>+7.2} to {high:>+7.2})  {share:.3} {:>+6.1}", (share - 0.5) / deviation)
        });
        println!("  {:<36}{figures}  {compared}", kind.name);
    }
}

fn main() {
    let arguments = Arguments::parse();
    let keeper = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let signer = Signer::ec();
    let keys = keeper.block_on(Endpoint::start(Mood::Keys(vec![signer.jwk("1")])));
    let gateway = Setup::default().config(&config(&keys, false)).start();
    let kinds = kinds(&signer);
    let (mut json, mut grpc) = (Json::new(&gateway), Grpc::new(&gateway));
    let revoked = ("x-api-key", REVOKED_KEY.to_owned());
    assert_eq!(json.ask(Some(&revoked)).0, 200, "it was good once");
    gateway.rewrite(&config(&keys, true));
    gateway.hang_up();
    while json.ask(Some(&revoked)).0 == 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut chance = Chance(now_s().unsigned_abs());
    println!("{} calls of each kind over each face, in turns", arguments.calls);
    let times = measure(&kinds, arguments.calls, &mut chance, |header| json.ask(header));
    tell("JSON", &kinds, &times, &mut chance);
    let times = measure(&kinds, arguments.calls, &mut chance, |header| grpc.ask(header));
    tell("gRPC", &kinds, &times, &mut chance);
}
