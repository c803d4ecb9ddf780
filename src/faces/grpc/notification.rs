//! NotificationService on the wire.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, mark_replayed, stop};
use crate::faces::pb::v1 as pb;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::flight::Origin;
use crate::flows::{Gateway, notify};

/// Serves NotificationService.
pub struct Notifications(pub Arc<Gateway>);

#[tonic::async_trait]
impl pb::notification_service_server::NotificationService for Notifications {
    async fn send_notification(
        &self,
        request: Request<pb::SendNotificationRequest>,
    ) -> Result<Response<pb::SendNotificationResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (number, route, id) = wire::send_notification(&message, &self.0, &caller).map_err(ApiError::invalid)?;
        let notification = notify::Notification { number, text: message.message, id };
        let origin = notify::send(&self.0, &caller, route, notification).await.map_err(stop)?;
        let mut response = Response::new(pb::SendNotificationResponse {});
        if origin == Origin::Replayed {
            mark_replayed(&mut response);
        }
        Ok(response)
    }
}
