//! SandboxService on the wire.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, stop};
use crate::faces::pb::v1 as pb;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::Gateway;
use crate::flows::sandbox::Sandbox;

/// Serves SandboxService. It is not there outside the sandbox.
pub struct SandboxDoor {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What the sandbox has beyond it.
    pub sandbox: Arc<Sandbox>,
}

#[tonic::async_trait]
impl pb::sandbox_service_server::SandboxService for SandboxDoor {
    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, route) =
            wire::sandbox_number(&message.address, &self.gateway, &caller).map_err(ApiError::invalid)?;
        let received = self.sandbox.messages(&number, route).await.map_err(stop)?;
        let messages = received.into_iter().map(|sms| pb::Message {
            address: number.expose().to_owned(),
            text: sms.text.expose().to_owned(),
            sent_at: Some(wire::to_timestamp(sms.at)),
        });
        Ok(Response::new(pb::ListMessagesResponse { messages: messages.collect() }))
    }

    async fn get_bill(&self, request: Request<pb::GetBillRequest>) -> Result<Response<pb::GetBillResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, route) =
            wire::sandbox_number(&message.address, &self.gateway, &caller).map_err(ApiError::invalid)?;
        let bill = self.sandbox.bill(&number, route).await.map_err(stop)?;
        let lines = bill.lines.into_iter().map(|line| pb::BillLine {
            reference: line.reference.to_string(),
            amount: line.money.to_string(),
            currency: line.money.currency.code().to_owned(),
            description: line.text,
            booked_at: Some(wire::to_timestamp(line.at)),
        });
        Ok(Response::new(pb::GetBillResponse { lines: lines.collect(), total: bill.total.to_string() }))
    }

    async fn advance_clock(
        &self,
        request: Request<pb::AdvanceClockRequest>,
    ) -> Result<Response<pb::AdvanceClockResponse>, Status> {
        let (_, message) = caller(request)?;
        let seconds = wire::advance_clock(&message).map_err(ApiError::invalid)?;
        let now = self.sandbox.advance_clock(seconds).map_err(stop)?;
        Ok(Response::new(pb::AdvanceClockResponse { now: Some(wire::to_timestamp(now)) }))
    }

    async fn reset_account(
        &self,
        request: Request<pb::ResetAccountRequest>,
    ) -> Result<Response<pb::ResetAccountResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, route) =
            wire::sandbox_number(&message.address, &self.gateway, &caller).map_err(ApiError::invalid)?;
        self.sandbox.reset(&self.gateway, &number, route).await.map_err(stop)?;
        Ok(Response::new(pb::ResetAccountResponse {}))
    }
}
