//! What the arguments come to: lanes with their connections, a book of names, and a span.
//!
//! Invariant: everything that can be wrong with the arguments is found here, before anything is sent.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::args::{Arguments, Faces};
use super::book::{Book, Numbers, Random};
use super::call::{Clerk, Face, Version, Wares};
use super::crew::{Lane, Phase};
use super::line::{Line, Shared, Way};
use super::mix::Mix;
use super::pace::{Pace, Span};
use super::plan::Plan;
use crate::commands::certify::connect::{self, Protocol};
use crate::commands::certify::random;

/// Calls under way where nothing is said.
const IN_FLIGHT: u64 = 64;
/// The most where they begin by the clock.
const IN_FLIGHT_BY_THE_CLOCK: u64 = 1024;
/// Calls for which one HTTP/2 connection is made.
const STREAMS: u64 = 64;
/// Measured seconds where nothing is said.
const DURATION_S: u32 = 10;
/// Charges that are made before, where the mix needs some.
const PREPARED: u64 = 1000;
/// Letters of a run's name.
const NAME_LETTERS: usize = 8;

/// A run, ready to begin.
pub struct Options {
    /// Where the gateway is.
    pub target: Uri,
    /// What is called.
    pub mix: Mix,
    /// How long, how many, how fast.
    pub span: Span,
    /// Charges to make before.
    pub prepare: u64,
    /// At most about so many look-ups at the end.
    pub check: u64,
    /// Calls under way at most.
    pub in_flight: u64,
    /// Connections.
    pub connections: u64,
    /// Threads.
    pub threads: f64,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Codes that are no reason to fail.
    pub expected: BTreeSet<String>,
    /// Whether it is asked first if it is a gateway.
    pub probe: bool,
    /// Processes to watch.
    pub pids: Vec<String>,
    /// Names and marks.
    pub book: Arc<Book>,
    faces: Vec<(Face, Version)>,
    share: u64,
    threads_max: u64,
    api_key: String,
    wares: Wares,
    ca_pem: Option<Vec<u8>>,
}

impl Options {
    /// Reads arguments and the files that they name.
    ///
    /// # Errors
    /// One line: what is wrong.
    pub fn of(arguments: &Arguments) -> Result<Self, String> {
        let target = crate::commands::certify::command::url(&arguments.target, "--target")?;
        let faces = faces(arguments);
        let default = if arguments.rate.is_some() { IN_FLIGHT_BY_THE_CLOCK } else { IN_FLIGHT };
        let in_flight = arguments.in_flight.map_or(default, u64::from);
        let count = u64::try_from(faces.len()).unwrap_or(1);
        if in_flight < count {
            return Err("--in-flight: both faces need two calls in flight".to_owned());
        }
        let wanted = arguments.connections.map(u64::from);
        let only_http1 = faces.iter().all(|(_, version)| *version == Version::Http1);
        let in_flight = match wanted {
            Some(connections) if only_http1 && arguments.in_flight.is_none() => connections,
            Some(connections) if only_http1 && connections != in_flight => {
                return Err("--connections: HTTP/1.1 has as many as calls in flight".to_owned());
            }
            Some(_) | None => in_flight,
        };
        // Each face has this many HTTP/2 connections; HTTP/1.1 has one a lane.
        let share = wanted.unwrap_or_else(|| in_flight.div_ceil(STREAMS.saturating_mul(count))).clamp(1, in_flight);
        let connections = faces.iter().fold(0_u64, |sum, (_, version)| {
            let of_face =
                if *version == Version::Http1 { in_flight.checked_div(count).unwrap_or_default() } else { share };
            sum.saturating_add(of_face)
        });
        let duration = arguments.duration.or_else(|| arguments.requests.is_none().then_some(DURATION_S));
        let span = Span {
            warm_up: Duration::from_secs(arguments.warm_up.into()),
            duration: duration.map(|seconds| Duration::from_secs(seconds.into())),
            calls_max: arguments.requests,
            rate_per_s: arguments.rate,
        };
        let needs = arguments.mix.needs_charges() && arguments.known == 0;
        let threads_max = u64::from(arguments.threads).min(connections).max(1);
        Ok(Self {
            target,
            mix: arguments.mix.clone(),
            span,
            prepare: arguments.prepare.unwrap_or(if needs { PREPARED } else { 0 }),
            check: arguments.check,
            in_flight,
            connections,
            threads: f64::from(u16::try_from(threads_max).unwrap_or(u16::MAX)),
            timeout: Duration::from_secs(arguments.timeout.into()),
            expected: arguments.expect.iter().cloned().collect(),
            probe: !arguments.any_target,
            pids: arguments.pid.iter().map(u32::to_string).collect(),
            book: Arc::new(book(arguments)?),
            faces,
            share,
            threads_max,
            api_key: api_key(arguments)?,
            wares: Wares {
                product: arguments.product.clone(),
                amount: arguments.amount.clone(),
                currency: arguments.currency.clone(),
            },
            ca_pem: arguments.ca.as_deref().map(|path| read("--ca", path)).transpose()?,
        })
    }

    /// A phase that begins now.
    #[must_use]
    pub fn phase(&self, span: Span, plan: Plan) -> Arc<Phase> {
        let (book, timeout) = (Arc::clone(&self.book), self.timeout);
        Arc::new(Phase { pace: Pace::begin(span), plan, book, timeout })
    }

    /// The lanes of each thread.
    ///
    /// # Errors
    /// One line, where certificates or the key cannot be used.
    pub fn lanes(&self) -> Result<Vec<Vec<Lane>>, String> {
        let mut threads: Vec<Vec<Lane>> = (0..self.threads_max).map(|_| Vec::new()).collect();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| format!("the system draws no random number: {error}"))?;
        let mut sides = Vec::new();
        for (face, version) in &self.faces {
            let clerk = Clerk::new(*face, *version, &self.target, &self.api_key, &self.wares, &self.book)?;
            let way = self.way(*version)?;
            let shared: Vec<_> = (0..self.share).map(|_| Shared::new(way.clone())).collect();
            sides.push((clerk, way, shared, *version));
        }
        // The faces take turns, so that both are called however few of the lanes are needed.
        for (lane, (clerk, way, shared, version)) in (0..self.in_flight).zip(sides.iter().cycle()) {
            let nth = lane.checked_div(u64::try_from(sides.len()).unwrap_or(1)).unwrap_or_default();
            let (connection, line) = match version {
                Version::Http1 => (nth, Line::own(way.clone())),
                Version::Http2 => {
                    let at = nth.checked_rem(self.share).unwrap_or_default();
                    let shared = usize::try_from(at).ok().and_then(|at| shared.get(at));
                    (at, Line::share(Arc::clone(shared.ok_or("no connection")?)))
                }
            };
            let random = Random::new(u64::from_le_bytes(seed).wrapping_add(lane << 32));
            let thread = connection.checked_rem(self.threads_max).unwrap_or_default();
            if let Some(lanes) = usize::try_from(thread).ok().and_then(|thread| threads.get_mut(thread)) {
                lanes.push(Lane::new(clerk.clone(), line, random));
            }
        }
        Ok(threads)
    }

    fn way(&self, version: Version) -> Result<Way, String> {
        let protocol = match version {
            Version::Http1 => Protocol::Http1,
            Version::Http2 => Protocol::Http2,
        };
        let connector = connect::connector(self.ca_pem.as_deref(), self.timeout, protocol)?;
        Ok(Way::new(connector, self.target.clone(), self.timeout))
    }
}

fn faces(arguments: &Arguments) -> Vec<(Face, Version)> {
    let json = (Face::Json, if arguments.json_http == 2 { Version::Http2 } else { Version::Http1 });
    let grpc = (Face::Grpc, Version::Http2);
    match arguments.face {
        Faces::Grpc => vec![grpc],
        Faces::Json => vec![json],
        Faces::Both => vec![grpc, json],
    }
}

fn api_key(arguments: &Arguments) -> Result<String, String> {
    let key = match (&arguments.api_key_file, &arguments.api_key) {
        (Some(path), _) => {
            let bytes = read("--api-key-file", path)?;
            String::from_utf8(bytes).map_err(|_| format!("--api-key-file {}: is no text", path.display()))?
        }
        (None, Some(key)) => key.clone(),
        (None, None) => String::new(),
    };
    let key = key.trim();
    if key.is_empty() {
        return Err("no API key: set ONBILL_API_KEY, or give --api-key-file or --api-key".to_owned());
    }
    Ok(key.to_owned())
}

fn book(arguments: &Arguments) -> Result<Book, String> {
    let run = arguments.run.clone().unwrap_or_else(|| random::token(NAME_LETTERS));
    let numbers = match &arguments.numbers {
        Some(path) => {
            let text = read("--numbers", path)?;
            let text = String::from_utf8(text).map_err(|_| format!("--numbers {}: is no text", path.display()))?;
            let listed: Vec<String> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect();
            if listed.is_empty() {
                return Err(format!("--numbers {}: holds none", path.display()));
            }
            Numbers::Listed(listed)
        }
        // From the run's name, so that a later run of this name knows the numbers of the earlier one.
        None => Numbers::Sandbox {
            first: run.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into())),
            condition: arguments.condition.clone(),
        },
    };
    Ok(Book::new(&run, arguments.ids, numbers, arguments.known))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{option} {}: {error}", path.display()))
}
