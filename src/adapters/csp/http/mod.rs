//! Operators that expose the CSP API v1 (`deploy/csp/csp-api-v1.yaml`) over HTTP.
//!
//! Invariant: what went wrong is judged by one table, in `verdict`; a receipt is handed on as it was answered, also one
//! that is not for what was sent, since the domain checks the echo. A request is sent once: whether it may be sent again
//! is decided above. What travels is in `wire`, how it travels in `exchange`.

mod wire;
mod exchange;
mod verdict;

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method, Uri};

use exchange::{Answered, Exchange};
use verdict::Trouble;

use crate::adapters::csp::tls;
pub use crate::adapters::csp::tls::{ClientPem, TlsError};
use crate::domain::account::Account;
use crate::domain::address::Msisdn;
use crate::domain::ids::{ChargeCode, Reference};
use crate::domain::transaction::settle::Receipt;
use crate::ports::Cause;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// How an operator is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where its API begins; http or https.
    pub url: Uri,
    /// Its key, sent as `X-API-KEY`; marked as sensitive, so that it does not print.
    pub api_key: Option<HeaderValue>,
    /// Certificates that are trusted beside the public authorities', in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// What we show to it, where it asks for a certificate of its callers.
    pub client_pem: Option<ClientPem>,
    /// Statuses and codes with which it says that nothing was applied and nothing will be.
    pub not_applied: Vec<String>,
}

/// An operator behind the CSP API.
pub struct HttpCsp {
    exchange: Exchange,
    not_applied: Vec<String>,
}

impl HttpCsp {
    /// Gets ready; nothing is sent yet.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, TlsError> {
        let Settings { url, api_key, ca_pem, client_pem, not_applied } = settings;
        let tls = tls::config(ca_pem.as_deref(), client_pem.as_ref())?;
        Ok(Self { exchange: Exchange::new(url, api_key, tls), not_applied })
    }

    async fn post(&self, path: &str, body: String, call: &CallContext) -> Result<Answered, CspError> {
        self.exchange.send(Method::POST, path, body, call).await.map_err(|failed| self.judge(Trouble::Failed(failed)))
    }

    fn judge(&self, trouble: Trouble) -> CspError {
        verdict::of(trouble, &self.not_applied)
    }

    /// Reads a booking; anything else is judged.
    fn receipt(&self, answered: &Answered) -> Result<wire::Booked, CspError> {
        if answered.status == 200
            && let Some(booked) = answered.json().and_then(wire::Booked::read)
        {
            return Ok(booked);
        }
        Err(self.judge(Trouble::answered(answered)))
    }
}

#[async_trait]
impl Csp for HttpCsp {
    fn would_take(&self, _time_left: Duration) -> Result<(), Cause> {
        Ok(())
    }

    async fn account(
        &self,
        who: &Identifier,
        product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        let answered = self.post("/account/validate", wire::account(who, product), call).await?;
        if answered.status == 200
            && let Some(account) = answered.json().and_then(wire::read_account)
        {
            return Ok(Some(account));
        }
        if answered.status == 404 && answered.code().as_deref() == Some(wire::UNKNOWN_ACCOUNT) {
            return Ok(None);
        }
        Err(self.judge(Trouble::answered(&answered)))
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let answered = self.post("/transaction", wire::charge(order), call).await?;
        self.receipt(&answered).map(|booked| booked.receipt)
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let answered = self.post("/transaction", wire::refund(order), call).await?;
        self.receipt(&answered).map(|booked| wire::given_back(booked.receipt))
    }

    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        let path = format!("/transaction/{reference}");
        let sent = self.exchange.send(Method::GET, &path, String::new(), call).await;
        let answered = sent.map_err(|failed| self.judge(Trouble::Failed(failed)))?;
        if answered.status == 404 && answered.code().as_deref() == Some(wire::UNKNOWN_TRANSACTION) {
            return Ok(Inquiry::NotKnown);
        }
        if answered.status == 200
            && let Some(code) = answered.json().and_then(|text| wire::read_refused(text, *reference))
        {
            return Ok(Inquiry::Refused { code });
        }
        Ok(Inquiry::Booked(self.receipt(&answered)?.positive()))
    }

    async fn void(&self, reference: &Reference, call: &CallContext) -> Result<Voiding, CspError> {
        let path = format!("/transaction/{reference}/void");
        let answered = self.post(&path, wire::void(), call).await?;
        if answered.status == 200
            && let Some(text) = answered.json()
        {
            if wire::is_void(text, *reference) {
                return Ok(Voiding::Void);
            }
            if let Some(code) = wire::read_refused(text, *reference) {
                return Ok(Voiding::Refused { code });
            }
        }
        Ok(Voiding::Booked(self.receipt(&answered)?.positive()))
    }

    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError> {
        let answered = self.post("/notification", wire::notification(number, message), call).await?;
        match answered.status {
            200 | 201 | 202 | 204 => Ok(()),
            _ => Err(self.judge(Trouble::answered(&answered))),
        }
    }
}
