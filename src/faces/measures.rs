//! What is measured of each call, of either face.
//!
//! Invariant: the number of series is bounded by the methods, faces, codes and configured partners there are; nothing of a
//! caller becomes a label. Handles are made once, or when a call first ends that way, so that measuring allocates
//! nothing. A call whose caller leaves before the answer is counted too. What is measured is named in `ports::measures`.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use crate::domain::catalogue::ErrorCode;
use crate::domain::certification::Face;
use crate::domain::ids::PartnerId;
use crate::flows::trail::Trail;
use crate::ports::measures::{
    CSP_SHARE_SECONDS, IN_FLIGHT, OWN_SECONDS, REPLAYS, REQUEST_SECONDS, REQUESTS, SLO_CALLS, SLO_DOWN,
};

/// The code of a call that succeeded.
const OK: &str = "ok";
/// The code of a call whose caller did not wait for the answer.
const ABANDONED: &str = "abandoned";
/// The method of a call to something that is not there.
pub const UNKNOWN: &str = "unknown";
/// The partner of a call that has shown none.
const NOBODY: &str = "none";
/// A call that takes longer counts as down.
const SLO_LATENCY_MAX: Duration = Duration::from_secs(7);
/// Packages whose calls are no part of the service level: the sandbox's own.
const NOT_IN_SLO: [&str; 2] = ["SandboxService/", "CertificationService/"];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With what was asked for.
    Ok,
    /// With an error.
    Failed(ErrorCode),
    /// Its caller was gone.
    Abandoned,
}

impl End {
    const COUNT: usize = ErrorCode::ALL.len() + 2;

    fn place(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Abandoned => 1,
            Self::Failed(code) => {
                ErrorCode::ALL.iter().position(|known| *known == code).map_or(1, |place| place.saturating_add(2))
            }
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => OK,
            Self::Abandoned => ABANDONED,
            Self::Failed(code) => code.code(),
        }
    }

    /// Whether the gateway, or what stands behind it, is at fault: 5xx.
    const fn is_ours(self) -> bool {
        matches!(self, Self::Failed(ErrorCode::ServiceUnavailable | ErrorCode::SystemError))
    }
}

const fn face_word(face: Face) -> &'static str {
    match face {
        Face::Grpc => "grpc",
        Face::Json => "json",
    }
}

const fn face_place(face: Face) -> usize {
    match face {
        Face::Grpc => 0,
        Face::Json => 1,
    }
}

/// Whether calls of a method count towards the service level, and how they did.
struct Slo {
    calls: Counter,
    down: Counter,
}

/// Handles of one method.
pub struct OfMethod {
    rpc: String,
    /// By partner, face and end.
    ended: Vec<OnceLock<Counter>>,
    seconds: [Histogram; 2],
    own: Histogram,
    csp: Histogram,
    slo: Option<Slo>,
}

impl OfMethod {
    fn new(rpc: &str, partners: usize) -> Self {
        let count = partners.saturating_mul(2).saturating_mul(End::COUNT);
        let seconds = |face: Face| histogram!(REQUEST_SECONDS.name, "rpc" => rpc.to_owned(), "face" => face_word(face));
        let counts = rpc != UNKNOWN && !NOT_IN_SLO.iter().any(|service| rpc.contains(service));
        let slo = counts.then(|| Slo {
            calls: counter!(SLO_CALLS.name, "rpc" => rpc.to_owned()),
            down: counter!(SLO_DOWN.name, "rpc" => rpc.to_owned()),
        });
        Self {
            ended: (0..count).map(|_| OnceLock::new()).collect(),
            seconds: [seconds(Face::Grpc), seconds(Face::Json)],
            own: histogram!(OWN_SECONDS.name, "rpc" => rpc.to_owned()),
            csp: histogram!(CSP_SHARE_SECONDS.name, "rpc" => rpc.to_owned()),
            slo,
            rpc: rpc.to_owned(),
        }
    }
}

/// Handles of what belongs to no method, and the places of partners.
pub struct Measures {
    unknown: OfMethod,
    /// The places of partners; 0 is nobody's.
    partners: HashMap<PartnerId, usize, RandomState>,
    words: Vec<String>,
    replays: Vec<Counter>,
    in_flight: Gauge,
}

impl Measures {
    /// Handles for these partners.
    pub fn new(partners: impl Iterator<Item = PartnerId>) -> Self {
        let ids: Vec<PartnerId> = partners.collect();
        let words: Vec<String> =
            std::iter::once(NOBODY).chain(ids.iter().map(PartnerId::as_str)).map(str::to_owned).collect();
        let replays = words.iter().map(|partner| counter!(REPLAYS.name, "partner" => partner.clone())).collect();
        Self {
            unknown: OfMethod::new(UNKNOWN, words.len()),
            partners: ids.into_iter().enumerate().map(|(place, id)| (id, place.saturating_add(1))).collect(),
            replays,
            in_flight: gauge!(IN_FLIGHT.name),
            words,
        }
    }

    /// Handles for a method, by service and method.
    #[must_use]
    pub fn of(&self, rpc: &str) -> OfMethod {
        OfMethod::new(rpc, self.words.len())
    }

    /// Watches a call from its beginning; `None` is a call to something that is not there.
    #[must_use]
    pub fn begin<'a>(&'a self, method: Option<&'a OfMethod>, face: Face) -> Watched<'a> {
        self.in_flight.increment(1.0);
        Watched {
            measures: self,
            method: method.unwrap_or(&self.unknown),
            face,
            partner: 0,
            began: Instant::now(),
            trail: None,
            end: End::Abandoned,
        }
    }
}

/// A call that is under way; it is counted when this is dropped.
pub struct Watched<'a> {
    measures: &'a Measures,
    method: &'a OfMethod,
    face: Face,
    partner: usize,
    began: Instant,
    trail: Option<Trail>,
    end: End,
}

impl Watched<'_> {
    /// Whose it is, and where it leaves what its CSP took.
    pub fn belongs_to(&mut self, partner: &PartnerId, trail: &Trail) {
        self.partner = self.measures.partners.get(partner).copied().unwrap_or_default();
        self.trail = Some(trail.clone());
    }

    /// When it came.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// It has an answer.
    pub const fn ended(&mut self, end: End) {
        self.end = end;
    }

    /// Its answer is one that was given before.
    pub fn replayed(&self) {
        if let Some(counter) = self.measures.replays.get(self.partner) {
            counter.increment(1);
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.measures.in_flight.decrement(1.0);
        let took = self.began.elapsed();
        let Self { method, face, partner, end, .. } = self;
        let place = partner
            .saturating_mul(2)
            .saturating_add(face_place(*face))
            .saturating_mul(End::COUNT)
            .saturating_add(end.place());
        if let Some(ended) = method.ended.get(place) {
            let counter = ended.get_or_init(|| {
                let partner = self.measures.words.get(*partner).cloned().unwrap_or_default();
                counter!(REQUESTS.name, "rpc" => method.rpc.clone(), "face" => face_word(*face), "partner" => partner,
                    "code" => end.word())
            });
            counter.increment(1);
        }
        let [grpc, json] = &method.seconds;
        let seconds = if *face == Face::Grpc { grpc } else { json };
        seconds.record(took.as_secs_f64());
        let csp = self.trail.as_ref().and_then(Trail::csp_time);
        method.own.record(took.saturating_sub(csp.unwrap_or_default()).as_secs_f64());
        if let Some(csp) = csp {
            method.csp.record(csp.min(took).as_secs_f64());
        }
        // Who has shown no key is no customer whom the service level is owed to.
        if let (Some(slo), true) = (&method.slo, self.partner != 0) {
            slo.calls.increment(1);
            if end.is_ours() || took > SLO_LATENCY_MAX {
                slo.down.increment(1);
            }
        }
    }
}
