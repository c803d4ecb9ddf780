//! Every number that a gateway shows, in one table: its name, what it counts, its labels and how many series they make.
//!
//! Invariant: what is measured anywhere is a row here, and `deploy/runbook.md` shows every row; a test compares both with
//! what a gateway prints. Labels hold what the configuration or the program names, and nothing of a caller, so that the
//! number of series is bounded. Where a number is measured is beside what it is measured of.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// How a number moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Many of them, in buckets.
    Histogram,
}

impl Moves {
    /// The word that Prometheus has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub moves: Moves,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Measure {
    Measure { name, moves: Moves::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Measure {
    Measure { name, moves: Moves::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Measure {
    Measure { name, moves: Moves::Histogram, labels, help }
}

macro_rules! table {
    ($($(#[$doc:meta])* $constant:ident = $row:expr;)+) => {
        $($(#[$doc])* pub const $constant: Measure = $row;)+
        /// Every row.
        pub const ALL: &[Measure] = &[$($constant),+];
    };
}

table! {
    /// Calls, by how they ended.
    REQUESTS = counter("onbill_requests_total", &["rpc", "face", "partner", "code"],
        "Calls of either face, by method, face, partner and the code that they ended with.");
    /// How long they took.
    REQUEST_SECONDS = histogram("onbill_request_seconds", &["rpc", "face"],
        "Seconds from the first layer to the answer.");
    /// The gateway's own share.
    OWN_SECONDS = histogram("onbill_request_own_seconds", &["rpc"],
        "Seconds of a call that the gateway itself took: without its calls to CSPs and their waiting for a place.");
    /// The CSPs' share.
    CSP_SHARE_SECONDS = histogram("onbill_request_csp_seconds", &["rpc"],
        "Seconds of a call that went into calls to CSPs, waiting for a place included; calls that asked none are not in it.");
    /// Calls that are answered right now.
    IN_FLIGHT = gauge("onbill_requests_in_flight", &[], "Calls that are under way.");
    /// Calls that hold a place.
    PLACES_TAKEN = gauge("onbill_places_taken", &[], "Calls that hold one of server.requests_in_flight_max places.");
    /// Calls that found no place.
    REQUESTS_SHED = counter("onbill_requests_shed_total", &["reason"],
        "Calls that were turned away since all places were taken (full), or too many by one partner (share).");
    /// Calls over the rate.
    RATE_LIMITED = counter("onbill_rate_limited_total", &["partner"],
        "Calls that were refused since their partner was over its rate.");
    /// Connections that are open.
    CONNECTIONS = gauge("onbill_connections", &["port"], "Connections that are open, by port.");
    /// Connections that a bound has ended.
    CONNECTIONS_ENDED = counter("onbill_connections_ended_total", &["port", "bound"],
        "Connections that a bound has refused or closed.");
    /// Calls that count towards the service level.
    SLO_CALLS = counter("onbill_slo_calls_total", &["rpc"], "Calls that count towards the service level.");
    /// Calls that count against it.
    SLO_DOWN = counter("onbill_slo_down_total", &["rpc"],
        "Calls that count as down: answered with 5xx, or later than 7 seconds.");
    /// Answers that were given before.
    REPLAYS = counter("onbill_replays_total", &["partner"],
        "Answers to POST /transaction that an earlier call had started.");
    /// Charges and refunds at work.
    UNDER_WAY = gauge("onbill_transactions_under_way", &[],
        "Charges and refunds that this gateway works on, whether or not their callers still wait.");
    /// Charges without a flight.
    FLIGHTS_MISSED = counter("onbill_flights_missed_total", &[],
        "Charges and refunds that went on without a flight, since the store of flights did not answer.");
    /// Calls to CSPs.
    CSP_CALLS = counter("onbill_csp_calls_total", &["csp", "verb", "outcome"],
        "Calls to a CSP, by verb and outcome; turned_away: not sent, by breaker or bulkhead.");
    /// How long they took.
    CSP_SECONDS = histogram("onbill_csp_call_seconds", &["csp", "verb"],
        "Seconds that calls to a CSP took, without waiting for a place.");
    /// Whether a CSP is left alone.
    CSP_BREAKER = gauge("onbill_csp_breaker_state", &["csp"],
        "Whether a CSP is left alone: 0 closed, 1 half open, 2 open.");
    /// Calls to a CSP under way.
    CSP_IN_FLIGHT = gauge("onbill_csp_in_flight", &["csp", "lane"], "Calls to a CSP that are under way.");
    /// The bulkhead.
    CSP_PLACES = gauge("onbill_csp_places", &["csp", "lane"], "Calls to a CSP that may be under way at a time.");
    /// Calls that wait for a place.
    CSP_QUEUE = gauge("onbill_csp_queue", &["csp", "lane"], "Calls to a CSP that wait for a place.");
    /// Calls that have waited.
    CSP_QUEUED = counter("onbill_csp_queued_total", &["csp", "lane"],
        "Calls to a CSP that have had to wait for a place.");
    /// Whether the ledger is there.
    LEDGER_UP = gauge("onbill_ledger_up", &[],
        "1 where the ledger would take a commit, 0 where it would not: charges are then refused.");
    /// Units that wait for the ledger's writers.
    LEDGER_QUEUE = gauge("onbill_ledger_queue", &["writer"], "Writes that wait for a writer of the ledger.");
    /// The size of commits.
    LEDGER_BATCH = histogram("onbill_ledger_batch_units", &[], "Units of work that were committed together.");
    /// How long commits took.
    LEDGER_SECONDS = histogram("onbill_ledger_commit_seconds", &[], "Seconds that a commit of the ledger took.");
    /// Whether short-lived state is there.
    EPHEMERAL_UP = gauge("onbill_ephemeral_up", &[],
        "1 where the store of PINs and flights answers, 0 where it does not; charges go on without it.");
    /// Records that need a person.
    STUCK = gauge("onbill_stuck_transactions", &[], "Transactions whose outcome only a person can find out.");
    /// Records without an outcome.
    UNKNOWN = gauge("onbill_unknown_transactions", &[], "Transactions whose outcome is unknown.");
    /// The oldest of them.
    UNKNOWN_OLDEST = gauge("onbill_unknown_oldest_seconds", &[],
        "Age of the oldest transaction whose outcome is unknown; 0 where there is none.");
    /// The oldest that is under way.
    PENDING_OLDEST = gauge("onbill_pending_oldest_seconds", &[],
        "Age of the oldest transaction that is Pending for its partner; 0 where there is none.");
    /// Events that wait.
    OUTBOX_DUE = gauge("onbill_outbox_due_events", &[], "Events that wait to be delivered, those under way included.");
    /// The oldest of them.
    OUTBOX_OLDEST = gauge("onbill_outbox_oldest_seconds", &[],
        "Age of the oldest event that waits to be delivered; 0 where there is none.");
    /// Dead letters.
    OUTBOX_DEAD = gauge("onbill_outbox_dead_letters", &[], "Events that were given up: dead letters.");
    /// Attempts of deliveries.
    DELIVERIES = counter("onbill_event_deliveries_total", &["partner", "outcome"],
        "Attempts to deliver an event, by partner and by how they ended.");
    /// Calls of certification that are not kept.
    CERTIFICATION_LEFT_OUT = counter("onbill_certification_calls_left_out_total", &[],
        "Calls of certification runs that came when the queue was full.");
    /// Calls of certification that wait.
    CERTIFICATION_QUEUE = gauge("onbill_certification_queue", &[],
        "Calls of certification runs that wait to be kept.");
    /// Configurations that were read again.
    RELOADS = counter("onbill_config_reloads_total", &["outcome"],
        "Configurations that were read again (SIGHUP), by whether they were taken.");
    /// Callers that were turned away.
    CALLERS_REFUSED = counter("onbill_callers_refused_total", &["why"],
        "Calls that were turned away for who their caller is, by why.");
    /// Keys of issuers.
    JWKS_FETCHES = counter("onbill_jwks_fetches_total", &["issuer", "outcome"],
        "Fetches of issuers' keys (JWKS), by issuer and outcome.");
    /// Connections that were encrypted.
    TLS_HANDSHAKES = counter("onbill_tls_handshakes_total", &["outcome"],
        "TLS handshakes on the main port, by outcome.");
    /// Certificates that were read again.
    TLS_RELOADS = counter("onbill_tls_reloads_total", &["outcome"],
        "Changed TLS files that were found, by whether they are in effect.");
    /// The end of the main port's certificate.
    TLS_EXPIRES = gauge("onbill_tls_certificate_expires_seconds", &[],
        "When the certificate of the main port ends, in seconds since 1970.");
    /// Charges over a spend limit.
    OVER_LIMIT = counter("onbill_charges_over_limit_total", &["csp", "limit", "period"],
        "Charges that a spend limit had no room for, by CSP, limit and period.");
    /// Spans that a collector took.
    SPANS_SENT = counter("onbill_spans_sent_total", &[], "Spans that the collector has taken.");
    /// Spans that are lost.
    SPANS_DROPPED = counter("onbill_spans_dropped_total", &["reason"],
        "Spans that are lost: the queue was full, or the collector did not take them.");
    /// Entries of the audit log.
    AUDIT_ENTRIES = counter("onbill_audit_entries_total", &[], "Entries that the audit log holds of this run.");
    /// Entries that are lost.
    AUDIT_LOST = counter("onbill_audit_lost_total", &[],
        "Entries of the audit log that are lost, since its queue was full or its disk refused.");
    /// Free space.
    DISK_FREE = gauge("onbill_data_dir_free_bytes", &[], "Bytes that are free where the data directory is.");
    /// Whether new work is taken.
    READY = gauge("onbill_ready", &[], "1 where /readyz says that the gateway can take requests.");
    /// Which build it is.
    BUILD = gauge("onbill_build_info", &["version"], "1, with the version that runs.");
}

/// Gives every number its text.
pub fn describe() {
    for measure in ALL {
        match measure.moves {
            Moves::Counter => {
                describe_counter!(measure.name, measure.help);
                // There from the beginning, so that the first increase is seen as one.
                if measure.labels.is_empty() {
                    metrics::counter!(measure.name).increment(0);
                }
            }
            Moves::Gauge => describe_gauge!(measure.name, measure.help),
            Moves::Histogram => describe_histogram!(measure.name, measure.help),
        }
    }
}
