//! Operators that run an adapter process, in whatever language, that serves `proto/onbill/csp/v1/csp.proto`.
//!
//! Invariant: what went wrong is judged by one table, in `verdict`; a receipt is handed on as it was answered, also one
//! that is not for what was sent, since the domain checks the echo. A call is made once: whether it may be made again is
//! decided above. What travels is in `wire`, how it travels in `exchange`.

mod wire;
mod exchange;
mod passage;
mod verdict;

/// Types generated from `proto/onbill/csp/v1/`. They never leave this folder.
#[allow(missing_docs, dead_code, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
mod pb {
    tonic::include_proto!("onbill.csp.v1");
}

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Uri};
use tonic::metadata::{Ascii, MetadataValue};

use exchange::{Exchange, Failed};
use verdict::Trouble;

use crate::adapters::csp::tls::{self, ClientPem, TlsError};
use crate::domain::account::Account;
use crate::domain::address::Msisdn;
use crate::domain::ids::{ChargeCode, Reference};
use crate::domain::transaction::settle::Receipt;
use crate::ports::Cause;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// How an adapter process is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is; http (HTTP/2 without TLS) or https. A path goes before the methods' own.
    pub url: Uri,
    /// Its key, sent as `x-api-key`; marked as sensitive, so that it does not print.
    pub api_key: Option<HeaderValue>,
    /// Certificates that are trusted beside the public authorities', in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// What we show to it, where it asks for a certificate of its callers.
    pub client_pem: Option<ClientPem>,
    /// Codes and names of statuses with which it says that nothing was applied and nothing will be.
    pub not_applied: Vec<String>,
}

/// An adapter process cannot be spoken to with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key that is sent.
    #[error("the API key must be visible ASCII")]
    ApiKey,
}

/// An operator behind an adapter process.
pub struct GrpcCsp {
    exchange: Exchange,
    not_applied: Vec<String>,
}

impl GrpcCsp {
    /// Gets ready; nothing is sent yet.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { url, api_key, ca_pem, client_pem, not_applied } = settings;
        let tls = tls::config(ca_pem.as_deref(), client_pem.as_ref())?;
        let api_key = match api_key {
            None => None,
            Some(key) => {
                let text = key.to_str().map_err(|_| SettingsError::ApiKey)?;
                let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| SettingsError::ApiKey)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { exchange: Exchange::new(url, api_key, tls), not_applied })
    }

    /// Reads an answer where there is one; anything else is judged.
    fn read<A, T>(
        &self,
        answered: Result<A, Failed>,
        read: impl FnOnce(A) -> Result<T, Trouble>,
    ) -> Result<T, CspError> {
        answered.map_err(Trouble::Failed).and_then(read).map_err(|trouble| verdict::of(trouble, &self.not_applied))
    }
}

#[async_trait]
impl Csp for GrpcCsp {
    fn would_take(&self, _time_left: Duration) -> Result<(), Cause> {
        Ok(())
    }

    async fn account(
        &self,
        who: &Identifier,
        product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        let message = wire::account(who, product);
        let method = async |mut client: exchange::CallClient, request| client.account(request).await;
        self.read(self.exchange.call(message, call, method).await, wire::read_account)
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let method = async |mut client: exchange::CallClient, request| client.charge(request).await;
        self.read(self.exchange.call(wire::charge(order), call, method).await, wire::read_charge)
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let method = async |mut client: exchange::CallClient, request| client.refund(request).await;
        self.read(self.exchange.call(wire::refund(order), call, method).await, wire::read_refund)
    }

    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        let message = pb::InquireRequest { reference: reference.to_string() };
        let method = async |mut client: exchange::CallClient, request| client.inquire(request).await;
        self.read(self.exchange.call(message, call, method).await, wire::read_inquiry)
    }

    async fn void(&self, reference: &Reference, call: &CallContext) -> Result<Voiding, CspError> {
        let message = pb::VoidRequest { reference: reference.to_string() };
        let method = async |mut client: exchange::CallClient, request| client.void(request).await;
        let read = |answer| wire::read_voiding(answer, &self.not_applied);
        self.read(self.exchange.call(message, call, method).await, read)
    }

    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError> {
        let message = wire::notification(number, message);
        let method = async |mut client: exchange::CallClient, request| client.notify(request).await;
        self.read(self.exchange.call(message, call, method).await, wire::read_notified)
    }
}
