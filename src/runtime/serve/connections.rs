//! Which connections there are, and which of them must go.
//!
//! Invariant: never more than the bounds say, of all and of one address. Where all places are taken, one more takes the
//! place of a connection without requests: of the address that has most of them, the one that has been without longest. Where
//! an address has all of its own, one more takes the place of one of these.
//! So nobody locks others out by connecting and saying nothing; and what has a request under way is never cut off for
//! another. What a connection does is not here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::Instant;

use crate::ports::measures::{CONNECTIONS, CONNECTIONS_ENDED};

/// How long a connection that was asked to go may take over it, once nothing is under way.
const GOING_MAX: Duration = Duration::from_secs(5);

/// Bounds of the connections of one port.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections.
    pub connections_max: usize,
    /// Most connections of one address.
    pub per_address_max: usize,
    /// How long a request's head may take to arrive, and the first bytes of a connection.
    pub head_read_timeout: Duration,
    /// How long a connection may be without requests.
    pub idle_timeout: Duration,
    /// How long a connection may be there; then it takes no more requests.
    pub age_max: Option<Duration>,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Answer what is under way, take nothing more, and end.
    Go,
    /// End now.
    End,
}

/// How a connection speaks, as far as it has said so.
const SILENT: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;
/// What it has been told.
const STAY: u8 = 0;
const GO: u8 = 1;
const END: u8 = 2;
/// How the first line of HTTP/2 begins (RFC 9113 section 3.4).
const HTTP2_BEGINS: &[u8] = b"PRI";
/// And how long all of it is.
const PREFACE_BYTES: u64 = 24;

/// One connection, for all who look at it.
pub(super) struct Connection {
    peer: IpAddr,
    began: Instant,
    age_max: Option<Duration>,
    speaks: AtomicU8,
    received_bytes: AtomicU64,
    /// What had been received when the last request ended: more than that is a head on its way.
    idle_bytes: AtomicU64,
    requests: AtomicU32,
    /// Milliseconds since it began: of its last request's end, and of the first byte of a head on its way.
    idle_ms: AtomicU64,
    head_ms: AtomicU64,
    told: AtomicU8,
    told_ms: AtomicU64,
    woken: AtomicWaker,
    has_heard_go: AtomicBool,
}

impl Connection {
    fn new(peer: IpAddr, age_max: Option<Duration>) -> Self {
        Self {
            peer,
            began: Instant::now(),
            age_max,
            speaks: AtomicU8::new(SILENT),
            received_bytes: AtomicU64::new(0),
            idle_bytes: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            idle_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(0),
            told: AtomicU8::new(STAY),
            told_ms: AtomicU64::new(0),
            woken: AtomicWaker::new(),
            has_heard_go: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes have come in.
    pub(super) fn received(&self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let before = self.received_bytes.fetch_add(count, Ordering::Relaxed);
        if before == 0 {
            let begins = HTTP2_BEGINS.get(..bytes.len().min(HTTP2_BEGINS.len())).unwrap_or_default();
            let speaks = if bytes.starts_with(begins) { HTTP2 } else { HTTP1 };
            self.speaks.store(speaks, Ordering::Relaxed);
        }
        if before == self.idle_bytes.load(Ordering::Relaxed) {
            self.head_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// A request has begun. Where the connection is old, it is the last one that is answered over HTTP/1.1.
    pub(super) fn request_began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.is_old() {
            self.tell(Told::Go);
        }
    }

    fn is_old(&self) -> bool {
        self.age_max.is_some_and(|age_max| self.began.elapsed() > age_max)
    }

    /// A request has ended, its answer's body included.
    pub(super) fn request_ended(&self) {
        self.idle_bytes.store(self.received_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.idle_ms.store(self.now_ms(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until it is told something.
    pub(super) fn poll_heard(&self, context: &Context<'_>) -> Poll<Told> {
        // Before the look, so that what is told after it wakes.
        self.woken.register(context.waker());
        match self.told.load(Ordering::SeqCst) {
            GO if !self.has_heard_go.swap(true, Ordering::SeqCst) => Poll::Ready(Told::Go),
            END => Poll::Ready(Told::End),
            _ => Poll::Pending,
        }
    }

    fn tell(&self, told: Told) {
        let (word, less) = match told {
            Told::Go => (GO, STAY),
            Told::End => (END, GO),
        };
        let raised = self.told.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |was| (was <= less).then_some(word));
        if raised.is_ok() {
            self.told_ms.store(self.now_ms(), Ordering::Relaxed);
            self.woken.wake();
        }
    }

    /// Whether more than one request is under way.
    pub(super) fn is_shared(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 1
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// For how long it has had no request.
    fn idle_for_ms(&self) -> u64 {
        self.now_ms().saturating_sub(self.idle_ms.load(Ordering::Relaxed))
    }

    /// What is to be told to it now, and why.
    fn due(&self, limits: &Limits) -> Option<(Told, &'static str)> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if !self.is_idle() {
            return (self.is_old() && self.told.load(Ordering::Relaxed) == STAY).then_some((Told::Go, "age"));
        }
        let received = self.received_bytes.load(Ordering::Relaxed);
        let speaks = self.speaks.load(Ordering::Relaxed);
        let head = match speaks {
            HTTP1 => received > self.idle_bytes.load(Ordering::Relaxed),
            HTTP2 => received < PREFACE_BYTES,
            _ => true,
        };
        let head_since = if speaks == SILENT { 0 } else { self.head_ms.load(Ordering::Relaxed) };
        if head && self.now_ms().saturating_sub(head_since) > ms(limits.head_read_timeout) {
            return Some((Told::End, "head"));
        }
        if self.told.load(Ordering::Relaxed) == GO {
            let going_ms = self.now_ms().saturating_sub(self.told_ms.load(Ordering::Relaxed));
            return (going_ms > ms(GOING_MAX)).then_some((Told::End, "going"));
        }
        if self.idle_for_ms() > ms(limits.idle_timeout) {
            return Some((Told::Go, "idle"));
        }
        // Over HTTP/1.1 an end between two requests may cross with the next one: there it comes with an answer.
        (self.is_old() && speaks == HTTP2).then_some((Told::Go, "age"))
    }
}

/// The connections of one port.
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Open>,
    shown: Gauge,
    port: &'static str,
}

#[derive(Default)]
struct Open {
    all: HashMap<u64, Arc<Connection>>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
}

/// A connection's entry, until it is dropped.
pub(super) struct Entry {
    pub(super) connection: Arc<Connection>,
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    pub(super) fn new(port: &'static str, limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), shown: gauge!(CONNECTIONS.name, "port" => port), port })
    }

    /// Takes a connection in; `None` where it is to be closed at once.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Entry> {
        let mut open = self.open();
        let of_address = open.by_address.get(&peer).copied().unwrap_or_default();
        if of_address >= self.limits.per_address_max && !self.make_room(&mut open, Some(peer)) {
            drop(open);
            self.ended("address").increment(1);
            return None;
        }
        if open.all.len() >= self.limits.connections_max && !self.make_room(&mut open, None) {
            drop(open);
            self.ended("full").increment(1);
            return None;
        }
        let number = open.next;
        open.next = number.wrapping_add(1);
        let connection = Arc::new(Connection::new(peer, self.limits.age_max));
        open.all.insert(number, Arc::clone(&connection));
        let count = open.by_address.entry(peer).or_default();
        *count = count.saturating_add(1);
        drop(open);
        self.shown.increment(1);
        Some(Entry { connection, connections: Arc::clone(self), number })
    }

    /// Ends a connection without requests, if there is one: also where the system has no room for another one.
    pub(super) fn yield_one(&self) -> bool {
        self.make_room(&mut self.open(), None)
    }

    /// Ends a connection without requests, of this address or of any, for a new one.
    fn make_room(&self, open: &mut Open, peer: Option<IpAddr>) -> bool {
        let of_address = |peer: &IpAddr| open.by_address.get(peer).copied().unwrap_or_default();
        let fits = |connection: &Connection| connection.is_idle() && peer.is_none_or(|peer| connection.peer == peer);
        let idle = open.all.iter().filter(|(_, connection)| fits(connection));
        let longest = idle.max_by_key(|(_, connection)| (of_address(&connection.peer), connection.idle_for_ms()));
        let Some(number) = longest.map(|(number, _)| *number) else { return false };
        if let Some(connection) = self.remove(open, number) {
            connection.tell(Told::End);
            self.ended("room").increment(1);
        }
        true
    }

    fn remove(&self, open: &mut Open, number: u64) -> Option<Arc<Connection>> {
        let connection = open.all.remove(&number)?;
        if let Some(count) = open.by_address.get_mut(&connection.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&connection.peer);
            }
        }
        self.shown.decrement(1);
        Some(connection)
    }

    /// Tells connections that are over a bound of time to go.
    pub(super) fn look(&self) {
        let open = self.open();
        for connection in open.all.values() {
            if let Some((told, why)) = connection.due(&self.limits) {
                connection.tell(told);
                self.ended(why).increment(1);
            }
        }
    }

    /// Tells all of them to go.
    pub(super) fn stop(&self) {
        self.open().all.values().for_each(|connection| connection.tell(Told::Go));
    }

    /// Between two looks: a fraction of the shortest bound of time.
    pub(super) fn pause(&self) -> Duration {
        let shortest = self.limits.head_read_timeout.min(self.limits.idle_timeout);
        shortest.checked_div(4).unwrap_or(shortest).clamp(Duration::from_millis(25), Duration::from_secs(1))
    }

    fn ended(&self, bound: &'static str) -> Counter {
        counter!(CONNECTIONS_ENDED.name, "port" => self.port, "bound" => bound)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        self.connections.remove(&mut open, self.number);
    }
}
