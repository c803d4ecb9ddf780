//! TransactionService on the wire.

use std::pin::Pin;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, mark_replayed, stop};
use crate::faces::pb::v1 as pb;
use crate::faces::stack::NamedDeadline;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::certification::Told;
use crate::flows::flight::Origin;
use crate::flows::{Gateway, charge, transactions, watch};

/// Serves TransactionService.
pub struct Transactions(pub Arc<Gateway>);

#[tonic::async_trait]
impl pb::transaction_service_server::TransactionService for Transactions {
    async fn create_transaction(
        &self,
        request: Request<pb::CreateTransactionRequest>,
    ) -> Result<Response<pb::CreateTransactionResponse>, Status> {
        let (caller, message) = caller(request)?;
        let raw = wire::create_transaction(&message);
        let answer = charge::create(&self.0, caller, &raw).await.map_err(stop)?;
        let mut response = Response::new(pb::CreateTransactionResponse {
            ext_transaction_id: answer.ext_transaction_id.as_str().to_owned(),
            status: answer.status.word().to_owned(),
            description: answer.description.as_ref().to_owned(),
        });
        let replayed = answer.origin == Origin::Replayed;
        let outcome = answer.status.word().to_owned();
        response.extensions_mut().insert(Told { outcome, replayed, ..Told::default() });
        if replayed {
            mark_replayed(&mut response);
        }
        Ok(response)
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let (caller, message) = caller(request)?;
        let kind = wire::get_transaction(&message).map_err(ApiError::invalid)?;
        let id = &message.ext_transaction_id;
        let record = transactions::get(&self.0, &caller, id, kind).await.map_err(stop)?;
        let mut response = Response::new(wire::transaction_status(&record));
        let outcome = response.get_ref().status.clone();
        response.extensions_mut().insert(Told { outcome, ..Told::default() });
        Ok(response)
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        let (caller, message) = caller(request)?;
        let list = wire::list_transactions(&message, &self.0, &caller).map_err(ApiError::invalid)?;
        let page = transactions::list(&self.0, &caller, list).await.map_err(stop)?;
        Ok(Response::new(pb::ListTransactionsResponse {
            transactions: page.transactions.iter().map(wire::listed_transaction).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    type WatchTransactionStream = Watched;

    async fn watch_transaction(
        &self,
        mut request: Request<pb::WatchTransactionRequest>,
    ) -> Result<Response<Self::WatchTransactionStream>, Status> {
        let until = request.extensions_mut().remove::<NamedDeadline>().map(|named| named.0);
        let (caller, message) = caller(request)?;
        let kind = wire::watch_transaction(&message).map_err(ApiError::invalid)?;
        let id = &message.ext_transaction_id;
        let watch = watch::begin(&self.0, caller, id, kind, until).await.map_err(stop)?;
        let told = futures_util::stream::unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Some((next.map(|record| wire::watched_transaction(&record)).map_err(stop), watch))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

/// The stream of WatchTransaction.
type Watched = Pin<Box<dyn futures_util::Stream<Item = Result<pb::WatchTransactionResponse, Status>> + Send>>;
