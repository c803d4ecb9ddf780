//! What certification takes note of: a call of a run, and what was answered to it.
//!
//! Invariant: noting changes no answer, and waits for nothing but one look at the phone where a PIN was tried. A call that
//! was taken is noted in any case: one whose caller hung up as one that was not answered. Verdicts are not made here.

use std::sync::Arc;

use http::{HeaderName, Request, Response};
use tonic::body::Body;

use crate::domain::catalogue::Violation;
use crate::domain::certification::{Face, Rpc};
use crate::domain::directory::Directory;
use crate::faces::grpc::observe::{Ear, Slot};
use crate::faces::status::ApiError;
use crate::flows::Caller;
use crate::flows::certification::{Certification, Seen, Sent, Told, UnderWay};

/// The certification run that a call belongs to.
const RUN_HEADER: HeaderName = HeaderName::from_static("x-certification-run");
/// What stands for the answer that nobody waited for: its outcome is in doubt, as after any 5xx.
const HUNG_UP: (u16, &str) = (504, "caller-hung-up");

/// A call that belongs to a certification run, while it is being answered.
pub(super) struct Noting(Option<Looking>);

/// Who looks at what.
#[derive(Clone)]
struct Subject {
    certification: Arc<Certification>,
    directory: Arc<Directory>,
    rpc: Rpc,
    face: Face,
    caller: Caller,
}

struct Looking {
    subject: Subject,
    call: UnderWay,
    slot: Slot,
    /// Whether the PIN in it is the phone's.
    pin_as_sent: bool,
}

/// What was answered.
struct Answer {
    status: u16,
    code: &'static str,
    violations: Vec<String>,
    told: Told,
}

impl Subject {
    fn seen(&self, sent: Sent, pin_as_sent: bool, answer: Answer) -> Seen {
        let Answer { status, code, violations, told } = answer;
        Seen {
            partner: Arc::clone(&self.caller.partner),
            directory: Arc::clone(&self.directory),
            rpc: self.rpc,
            face: self.face,
            correlation: self.caller.correlation.clone(),
            sent,
            pin_as_sent,
            status,
            code,
            violations,
            told,
        }
    }
}

impl Noting {
    /// `None` where nobody certifies by this call.
    pub(super) fn of(
        certification: &Arc<Certification>,
        directory: &Arc<Directory>,
        request: &mut Request<Body>,
        rpc: Rpc,
        face: Face,
        caller: &Caller,
    ) -> Option<Self> {
        let named = request.headers().get(&RUN_HEADER).map(|value| value.to_str().unwrap_or_default());
        let call = certification.enter(&caller.partner.id, named)?;
        let slot = Slot::default();
        request.extensions_mut().insert(slot.clone());
        let (certification, caller) = (Arc::clone(certification), caller.clone());
        let subject = Subject { certification, directory: Arc::clone(directory), rpc, face, caller };
        if rpc == Rpc::WatchTransaction {
            let (subject, run) = (subject.clone(), call.member().clone());
            request.extensions_mut().insert(Ear::new(move |sent, told| {
                let answer = Answer { status: 200, code: "", violations: Vec::new(), told };
                subject.certification.saw(&run, subject.seen(sent, false, answer));
            }));
        }
        Some(Self(Some(Looking { subject, call, slot, pin_as_sent: false })))
    }

    /// Looks at the phone where a PIN was tried. To be called before the answer is given, so that no PIN that follows from
    /// it can come first.
    pub(super) async fn look_at_phone(&mut self) {
        if let Some(looking) = self.0.as_mut().filter(|looking| looking.subject.rpc == Rpc::ValidatePin) {
            let Subject { certification, directory, caller, .. } = &looking.subject;
            looking.pin_as_sent = certification.phone_shows(directory, &caller.partner, &looking.slot.read()).await;
        }
    }

    /// Notes an answer.
    pub(super) fn note(mut self, answered: &Result<Response<Body>, ApiError>) {
        let Some(looking) = self.0.take() else { return };
        let rpc = looking.subject.rpc;
        let of_status = |response: &Response<Body>| {
            let status = response.extensions().get::<tonic::Status>()?;
            (status.code() != tonic::Code::Ok).then(|| ApiError::from_status(status))
        };
        let error = match answered {
            Ok(response) => of_status(response),
            Err(error) => Some(error.clone()),
        };
        let told = answered.as_ref().ok().and_then(|response| response.extensions().get::<Told>().cloned());
        let success = match rpc {
            Rpc::ValidateAccount
            | Rpc::CreateTransaction
            | Rpc::GetTransaction
            | Rpc::ListTransactions
            | Rpc::WatchTransaction => 200,
            Rpc::SendPin | Rpc::ValidatePin | Rpc::SendNotification => 201,
        };
        let violations = error.iter().flat_map(|error| &error.violations).map(Violation::code);
        let violations = violations.map(|code| code.to_string()).collect();
        let (status, code) =
            error.as_ref().map_or((success, ""), |error| (error.http_status().as_u16(), error.code.code()));
        // A watch tells its outcome later, through its ear.
        if rpc != Rpc::WatchTransaction || error.is_some() {
            looking.note(Answer { status, code, violations, told: told.unwrap_or_default() });
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        if let Some(looking) = self.0.take() {
            let (status, code) = HUNG_UP;
            let (violations, told) = (Vec::new(), Told::default());
            looking.note(Answer { status, code, violations, told });
        }
    }
}

impl Looking {
    fn note(self, answer: Answer) {
        let Self { subject, call, slot, pin_as_sent } = self;
        subject.certification.saw(call.member(), subject.seen(slot.read(), pin_as_sent, answer));
    }
}
