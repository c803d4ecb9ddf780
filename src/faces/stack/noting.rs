//! What certification takes note of: a call of a run, and what was answered to it.
//!
//! Invariant: noting waits for nothing and changes no answer. Verdicts are not made here.

use std::sync::Arc;

use http::{Request, Response};
use tonic::body::Body;

use crate::domain::catalogue::Violation;
use crate::domain::certification::{Face, Rpc};
use crate::domain::directory::Directory;
use crate::faces::grpc::observe::Slot;
use crate::faces::status::ApiError;
use crate::flows::Caller;
use crate::flows::certification::{Certification, Seen, Told};

/// The certification run that a call belongs to.
const RUN_HEADER: &str = "x-certification-run";

/// A call that belongs to a certification run, while it is being answered.
pub(super) struct Noting {
    certification: Arc<Certification>,
    directory: Arc<Directory>,
    run: String,
    rpc: Rpc,
    face: Face,
    caller: Caller,
    slot: Slot,
}

impl Noting {
    /// `None` where nobody certifies by this call.
    pub(super) fn of(
        certification: &Arc<Certification>,
        directory: &Arc<Directory>,
        request: &mut Request<Body>,
        caller: &Caller,
    ) -> Option<Self> {
        let rpc = Rpc::parse(request.uri().path().rsplit('/').next()?)?;
        let named = request.headers().get(RUN_HEADER).map(|value| value.to_str().unwrap_or_default());
        let run = certification.run_of(&caller.partner.id, named)?;
        let face = request.extensions().get::<Face>().copied().unwrap_or(Face::Grpc);
        let slot = Slot::default();
        request.extensions_mut().insert(slot.clone());
        let (certification, caller) = (Arc::clone(certification), caller.clone());
        Some(Self { certification, directory: Arc::clone(directory), run, rpc, face, caller, slot })
    }

    pub(super) fn note(self, answered: &Result<Response<Body>, ApiError>) {
        let of_status = |response: &Response<Body>| {
            let status = response.extensions().get::<tonic::Status>()?;
            (status.code() != tonic::Code::Ok).then(|| ApiError::from_status(status))
        };
        let error = match answered {
            Ok(response) => of_status(response),
            Err(error) => Some(error.clone()),
        };
        let told = answered.as_ref().ok().and_then(|response| response.extensions().get::<Told>().cloned());
        let success = match self.rpc {
            Rpc::ValidateAccount | Rpc::CreateTransaction | Rpc::GetTransaction => 200,
            Rpc::SendPin | Rpc::ValidatePin | Rpc::SendNotification => 201,
        };
        let violations = error.iter().flat_map(|error| &error.violations).map(Violation::code);
        let violations = violations.map(|code| code.to_string()).collect();
        let (status, code) =
            error.as_ref().map_or((success, ""), |error| (error.http_status().as_u16(), error.code.code()));
        let told = told.unwrap_or_default();
        let Caller { partner, correlation, .. } = self.caller;
        let (directory, run, rpc, face, sent) = (self.directory, self.run, self.rpc, self.face, self.slot.read());
        self.certification.saw(Seen {
            partner,
            directory,
            run,
            rpc,
            face,
            correlation,
            sent,
            status,
            code,
            violations,
            told,
        });
    }
}
