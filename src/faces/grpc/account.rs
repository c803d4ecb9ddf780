//! AccountService on the wire.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, stop};
use crate::faces::pb::v1 as pb;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::certification::Told;
use crate::flows::{Gateway, account};

/// Serves AccountService.
pub struct Accounts(pub Arc<Gateway>);

#[tonic::async_trait]
impl pb::account_service_server::AccountService for Accounts {
    async fn validate_account(
        &self,
        request: Request<pb::ValidateAccountRequest>,
    ) -> Result<Response<pb::ValidateAccountResponse>, Status> {
        let (caller, message) = caller(request)?;
        let (address, route) = wire::validate_account(&message, &self.0, &caller).map_err(ApiError::invalid)?;
        let product = (!message.partner_product.is_empty()).then_some(message.partner_product.as_str());
        let found = account::validate(&self.0, &caller, &address, route, product).await.map_err(stop)?;
        let account_id = found.account_id.as_str().to_owned();
        let mut response = Response::new(pb::ValidateAccountResponse {
            status: "ACTIVE".to_owned(),
            r#type: found.account.payment.word().to_owned(),
            account_id: account_id.clone(),
        });
        response.extensions_mut().insert(Told { account_id, ..Told::default() });
        Ok(response)
    }
}
