//! What is measured of each call, of either face.
//!
//! Invariant: the number of series is bounded by the methods and codes there are; nothing of a caller becomes a label.
//! Handles are made once, so that measuring costs an addition. How it is printed is not here.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

use crate::domain::catalogue::ErrorCode;

/// Calls, by method and by how they ended.
pub const REQUESTS: &str = "onbill_requests_total";
/// How long calls took, by method.
pub const SECONDS: &str = "onbill_request_seconds";
/// The code of a call that succeeded.
const OK: &str = "ok";
/// The method of a call to something that is not there.
const UNKNOWN: &str = "unknown";

/// Counters of one method.
struct OfMethod {
    succeeded: Counter,
    failed: HashMap<ErrorCode, Counter>,
    seconds: Histogram,
}

impl OfMethod {
    fn new(rpc: &str) -> Self {
        let counted = |code: &'static str| counter!(REQUESTS, "rpc" => rpc.to_owned(), "code" => code);
        Self {
            succeeded: counted(OK),
            failed: ErrorCode::ALL.into_iter().map(|code| (code, counted(code.code()))).collect(),
            seconds: histogram!(SECONDS, "rpc" => rpc.to_owned()),
        }
    }
}

/// Counters of all methods.
pub struct Measures {
    methods: HashMap<String, OfMethod>,
    unknown: OfMethod,
}

impl Measures {
    /// Counters of the methods with these paths.
    pub fn new<'a>(paths: impl Iterator<Item = &'a String>) -> Self {
        describe_counter!(REQUESTS, "Calls of either face, by method and by the code that they ended with.");
        describe_histogram!(SECONDS, "Seconds from the first layer to the answer, by method.");
        let methods = paths.map(|path| (path.clone(), OfMethod::new(path.trim_start_matches('/')))).collect();
        Self { methods, unknown: OfMethod::new(UNKNOWN) }
    }

    /// Counts a call that has ended; `failed` is its error's code, where it ended in one.
    pub fn ended(&self, path: &str, failed: Option<ErrorCode>, took: Duration) {
        let method = self.methods.get(path).unwrap_or(&self.unknown);
        match failed {
            None => method.succeeded.increment(1),
            Some(code) => {
                if let Some(counter) = method.failed.get(&code) {
                    counter.increment(1);
                }
            }
        }
        method.seconds.record(took.as_secs_f64());
    }
}
