//! The gRPC services: one thin file each, and the one place where they are put together.
//!
//! Invariant: a method reads its message by `wire`, runs one flow and writes the answer; it holds no rule. Who calls is
//! known before: the stack has put the [`Caller`] into the request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

use self::observe::{Slot, Telling};
use crate::domain::catalogue::ErrorCode;
use crate::faces::pb;
use crate::faces::status::ApiError;
use crate::flows::certification::Certification;
use crate::flows::sandbox::Sandbox;
use crate::flows::{Caller, Gateway, Stop};

pub mod codec;
pub mod direct;
mod account;
mod pin;
mod transaction;
mod notification;
mod sandbox;
pub mod certification;
pub mod observe;

/// Most bytes of a request on either face (contract section 2).
pub const REQUEST_BYTES_MAX: usize = 65_536;

/// A service that answers any of its methods.
trait Serves: Send + Sync {
    fn serve(&self, request: http::Request<Body>) -> Served;
}

/// An answer on its way.
type Served = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<S> Serves for S
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Served>,
    S: Clone + Send + Sync,
{
    fn serve(&self, request: http::Request<Body>) -> Served {
        // Services of tonic are handles, and always ready.
        self.clone().call(request)
    }
}

/// Everything that is served on the main port, in process.
pub struct Services {
    /// By full name. A call finds its service by one look-up; tonic's own router would cost it a twentieth of its time.
    by_name: HashMap<&'static str, Box<dyn Serves>, RandomState>,
    /// By path: the methods that are called from within the process.
    by_path: HashMap<&'static str, direct::Call, RandomState>,
    /// Full names of the services that need a key: ours.
    pub keyed: Vec<&'static str>,
}

impl Services {
    fn add<S: Serves + NamedService + 'static>(&mut self, service: S) {
        self.by_name.insert(S::NAME, Box::new(service));
    }

    fn add_direct(&mut self, calls: direct::Calls) {
        self.by_path.extend(calls);
    }

    /// Answers a call by the service that its path names. One with a [`direct::Message`] is answered with a
    /// [`direct::Answer`].
    pub async fn serve(&self, mut request: http::Request<Body>) -> http::Response<Body> {
        if let Some(direct::Message(message)) = request.extensions_mut().remove() {
            return match self.by_path.get(request.uri().path()) {
                Some(call) => {
                    let (parts, _) = request.into_parts();
                    call(MetadataMap::from_headers(parts.headers), parts.extensions, message).await
                }
                None => Status::unimplemented("").into_http(),
            };
        }
        let path = request.uri().path();
        let name = path.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')).map_or(path, |(name, _method)| name);
        let Some(service) = self.by_name.get(name) else {
            return Status::unimplemented("").into_http();
        };
        match service.serve(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A service with gzip and the request bound switched on.
macro_rules! bounded {
    ($server:expr) => {
        $server.accept_compressed(Gzip).send_compressed(Gzip).max_decoding_message_size(REQUEST_BYTES_MAX)
    };
}

/// Puts all services together; `health` tells how each is. The sandbox's is there only where there is a sandbox,
/// and reflection where it is to be.
///
/// # Errors
/// The descriptor set is not one that reflection can serve.
pub fn services(
    gateway: &Arc<Gateway>,
    sandbox: Option<&Arc<Sandbox>>,
    health: &HealthReporter,
    certification: Option<&Arc<Certification>>,
    reflects: bool,
) -> Result<Services, tonic_reflection::server::Error> {
    use pb::v1::account_service_server::AccountServiceServer;
    use pb::v1::certification_service_server::CertificationServiceServer;
    use pb::v1::notification_service_server::NotificationServiceServer;
    use pb::v1::pin_service_server::PinServiceServer;
    use pb::v1::sandbox_service_server::SandboxServiceServer;
    use pb::v1::transaction_service_server::TransactionServiceServer;

    let shared = || Arc::clone(gateway);
    let health_service = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let (by_name, by_path) = (HashMap::default(), HashMap::default());
    let mut services = Services { by_name, by_path, keyed: keyed(sandbox.is_some()) };
    /// One service, for gRPC clients and for calls from within.
    macro_rules! serve {
        ($server:ident, $calls:ident, $service:expr) => {
            let service = Arc::new($service);
            services.add_direct(direct::$calls(&service));
            services.add(bounded!($server::from_arc(service)));
        };
    }
    serve!(AccountServiceServer, account_service, account::Accounts(shared()));
    serve!(PinServiceServer, pin_service, pin::Pins(shared()));
    serve!(TransactionServiceServer, transaction_service, transaction::Transactions(shared()));
    serve!(NotificationServiceServer, notification_service, notification::Notifications(shared()));
    services.add(bounded!(health_service));
    if reflects {
        services.add(bounded!(reflection(sandbox.is_some()).build_v1()?));
        services.add(bounded!(reflection(sandbox.is_some()).build_v1alpha()?));
    }
    if let Some(sandbox) = sandbox {
        let door = sandbox::SandboxDoor { gateway: shared(), sandbox: Arc::clone(sandbox) };
        serve!(SandboxServiceServer, sandbox_service, door);
    }
    if let Some(certification) = certification {
        let door = certification::CertificationDoor(Arc::clone(certification));
        serve!(CertificationServiceServer, certification_service, door);
    }
    Ok(services)
}

/// Full names of the services that need a key.
#[must_use]
pub fn keyed(with_sandbox: bool) -> Vec<&'static str> {
    let mut names = vec![
        pb::v1::account_service_server::SERVICE_NAME,
        pb::v1::pin_service_server::SERVICE_NAME,
        pb::v1::transaction_service_server::SERVICE_NAME,
        pb::v1::notification_service_server::SERVICE_NAME,
    ];
    if with_sandbox {
        names.push(pb::v1::sandbox_service_server::SERVICE_NAME);
        names.push(pb::v1::certification_service_server::SERVICE_NAME);
    }
    names
}

/// Reflection over the API as it is here, and over health.
fn reflection(with_sandbox: bool) -> tonic_reflection::server::Builder<'static> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    for name in keyed(with_sandbox) {
        builder = builder.with_service_name(name);
    }
    builder
}

/// Takes a request apart: who calls, and the message. The stack lets none through without a caller. A caller that is
/// being certified leaves there what the message says.
fn caller<T: Telling>(mut request: Request<T>) -> Result<(Caller, T), Status> {
    if let Some(slot) = request.extensions_mut().remove::<Slot>()
        && let Some(sent) = request.get_ref().tell()
    {
        slot.put(sent);
    }
    match request.extensions_mut().remove::<Caller>() {
        Some(caller) => Ok((caller, request.into_inner())),
        None => Err(ApiError::new(ErrorCode::AuthorizationFailure).into()),
    }
}

/// How a story's end becomes a status. What it was for is logged here, since nobody else sees the cause.
fn stop(stop: Stop) -> Status {
    match stop {
        Stop::Refused(refusal) => ApiError::from(refusal).into(),
        Stop::Unavailable(cause) => {
            if is_to_be_logged() {
                tracing::warn!(?cause, "unavailable; the next of these may be left out");
            }
            ApiError::new(ErrorCode::ServiceUnavailable).retry_after(RETRY_AFTER_S).into()
        }
    }
}

/// Whether one more "unavailable" is written: some ten a second, since under a flood there are thousands, and all of them
/// are counted anyway.
fn is_to_be_logged() -> bool {
    const PAUSE: Duration = Duration::from_millis(100);
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut last) = LAST.try_lock() else { return false };
    let is_due = last.is_none_or(|last| last.elapsed() >= PAUSE);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// Seconds after which a caller that was told "unavailable" may come back.
pub const RETRY_AFTER_S: u32 = 1;

/// Tells that a call did not start the work that it answers.
fn mark_replayed<T>(response: &mut Response<T>) {
    response.metadata_mut().insert("idempotency-replayed", MetadataValue::from_static("true"));
}
