//! What is being worked on, for the lines of the log: the request that they belong to, and its trace.
//!
//! Invariant: it goes with the work into tasks of its own, and costs no more than a pointer until a line is written. Nothing
//! is decided by it, and nothing of a subscriber is here.

use std::future::Future;

use futures_util::future::Either;

use crate::domain::ids::CorrelationId;
use crate::domain::trace::Trace;

tokio::task_local! {
    static ABOUT: About;
}

/// What a line of the log belongs to.
#[derive(Debug, Clone)]
pub struct About {
    /// The kind of work, in a word.
    pub work: &'static str,
    /// Ties it to its request.
    pub correlation: CorrelationId,
    /// Ties it to its trace.
    pub trace: Trace,
}

impl About {
    /// Does work that is about this.
    pub fn scope<W: Future>(self, work: W) -> impl Future<Output = W::Output> {
        ABOUT.scope(self, work)
    }

    /// What is being worked on here and now; `None` outside of any request.
    #[must_use]
    pub fn current() -> Option<Self> {
        ABOUT.try_with(Clone::clone).ok()
    }
}

/// Work that goes on in a task of its own, about the same as what is being worked on here.
pub fn inherited<W: Future>(work: W) -> impl Future<Output = W::Output> {
    match About::current() {
        Some(about) => Either::Left(ABOUT.scope(about, work)),
        None => Either::Right(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlation() -> Option<String> {
        About::current().map(|about| about.correlation.as_str().to_owned())
    }

    #[tokio::test]
    async fn a_task_of_its_own_is_about_what_it_was_begun_for() {
        let id = CorrelationId::parse("one").expect("well formed");
        let about = About { work: "request", trace: Trace::begun_by(&id), correlation: id };
        let seen = about.scope(async {
            let inherits = tokio::spawn(inherited(async { correlation() }));
            let forgets = tokio::spawn(async { correlation() });
            (inherits.await.expect("no panic"), forgets.await.expect("no panic"), correlation())
        });
        assert_eq!(seen.await, (Some("one".to_owned()), None, Some("one".to_owned())));
        assert_eq!((inherited(async { correlation() }).await, correlation()), (None, None));
    }
}
