//! PinService on the wire.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, stop};
use crate::faces::pb::v1 as pb;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::{Gateway, pin};

/// Serves PinService.
pub struct Pins(pub Arc<Gateway>);

#[tonic::async_trait]
impl pb::pin_service_server::PinService for Pins {
    async fn send_pin(&self, request: Request<pb::SendPinRequest>) -> Result<Response<pb::SendPinResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, route) = wire::send_pin(&message, &self.0, &caller).map_err(ApiError::invalid)?;
        pin::send(&self.0, &caller, &number, route).await.map_err(stop)?;
        Ok(Response::new(pb::SendPinResponse {}))
    }

    async fn validate_pin(
        &self,
        request: Request<pb::ValidatePinRequest>,
    ) -> Result<Response<pb::ValidatePinResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, _) = wire::validate_pin(&message, &self.0, &caller).map_err(ApiError::invalid)?;
        pin::validate(&self.0, &caller, &number, &message.pin).await.map_err(stop)?;
        Ok(Response::new(pb::ValidatePinResponse {}))
    }
}
