//! The error catalogue: every public code and every public text, spelled once.
//!
//! Invariant: nothing else in the gateway spells an error code, an error message or the reason of a violation
//! (contract sections 2 and 4). What a code becomes on HTTP and on gRPC is not here: that is `faces/status.rs`.
//! Nothing private is here either: a text of this file may be shown to anybody.

use std::borrow::Cow;

/// A public error code (contract section 4). The order is that of the contract's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Ceased, unknown to the CSP, or an account id that is not ours.
    AccountNotFound,
    /// Suspended for non-payment or another billing issue.
    SuspendedNonPayment,
    /// Suspended because the phone was lost or stolen.
    SuspendedLostStolen,
    /// The CSP's own rule refuses this account.
    EligibilityFailedCsp,
    /// One or more fields are not as they must be.
    InvalidRequest,
    /// Wrong, expired, burnt or never sent: one answer for all.
    InvalidPin,
    /// The partner has no such product, or it cannot be charged at this CSP.
    InvalidPartnerProduct,
    /// The charge that a refund names does not exist.
    InvalidChargeRefund,
    /// No such transaction of this partner.
    TransactionNotFound,
    /// No such certification run of this partner.
    RunNotFound,
    /// No key, or not a valid one.
    AuthorizationFailure,
    /// The key is valid, but not for this.
    Forbidden,
    /// Too many in too short a time.
    TooManyRequests,
    /// No such path or method.
    NotFound,
    /// The path exists under another HTTP method.
    MethodNotAllowed,
    /// Nothing happened; the same request may be sent again.
    ServiceUnavailable,
    /// A fault of the gateway.
    SystemError,
}

impl ErrorCode {
    /// Every code, in the contract's order.
    pub const ALL: [Self; 17] = [
        Self::AccountNotFound,
        Self::SuspendedNonPayment,
        Self::SuspendedLostStolen,
        Self::EligibilityFailedCsp,
        Self::InvalidRequest,
        Self::InvalidPin,
        Self::InvalidPartnerProduct,
        Self::InvalidChargeRefund,
        Self::TransactionNotFound,
        Self::RunNotFound,
        Self::AuthorizationFailure,
        Self::Forbidden,
        Self::TooManyRequests,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::ServiceUnavailable,
        Self::SystemError,
    ];

    /// The literal code, byte for byte.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AccountNotFound => "account-not-found",
            Self::SuspendedNonPayment => "suspended-non-payment",
            Self::SuspendedLostStolen => "suspended-lost-stolen",
            // With the space: that is the certified text (use case 5).
            Self::EligibilityFailedCsp => "eligibility-failed csp",
            Self::InvalidRequest => "invalid-request",
            Self::InvalidPin => "invalid-pin",
            Self::InvalidPartnerProduct => "invalid-partner-product",
            Self::InvalidChargeRefund => "invalid-charge-refund",
            Self::TransactionNotFound => "transaction-not-found",
            Self::RunNotFound => "run-not-found",
            Self::AuthorizationFailure => "authorization-failure",
            Self::Forbidden => "forbidden",
            Self::TooManyRequests => "too-many-requests",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::ServiceUnavailable => "service-unavailable",
            Self::SystemError => "system-error",
        }
    }

    /// The message that goes with the code, byte for byte. The one exception is [`message_for`].
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::AccountNotFound => "Account not found",
            Self::SuspendedNonPayment => "Account is suspended because of non-payment, or other billing issue",
            Self::SuspendedLostStolen => "Account is suspended because of lost phone",
            Self::EligibilityFailedCsp => {
                "You are not eligible to subscribe to this service based on rules set by your CSP"
            }
            Self::InvalidRequest => "Invalid request.",
            Self::InvalidPin => "Invalid pin",
            Self::InvalidPartnerProduct => "Product not defined",
            Self::InvalidChargeRefund => "Original transaction not found",
            Self::TransactionNotFound => "Transaction not found",
            Self::RunNotFound => "Run not found",
            Self::AuthorizationFailure => "Not authorized.",
            Self::Forbidden => "Forbidden.",
            Self::TooManyRequests => "Too many requests.",
            Self::NotFound => "Not found.",
            Self::MethodNotAllowed => "Method not allowed.",
            Self::ServiceUnavailable => "Service unavailable.",
            Self::SystemError => "System error.",
        }
    }

    /// The code as `google.rpc.ErrorInfo.reason`, for example `ELIGIBILITY_FAILED_CSP`.
    #[must_use]
    pub fn reason(self) -> String {
        upper_snake(self.code())
    }

    /// The code whose [`ErrorCode::reason`] this is.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.reason() == reason)
    }
}

/// The message of a refusal with these violations: use cases 17 and 23 are certified without the full stop.
#[must_use]
pub fn message_for(code: ErrorCode, violations: &[Violation]) -> &'static str {
    match (code, violations) {
        (ErrorCode::InvalidRequest, [only])
            if only.kind == ViolationKind::NegativeAmount
                || (only.kind == ViolationKind::OnField && only.field == field::CURRENCY) =>
        {
            "Invalid request"
        }
        _ => code.message(),
    }
}

/// The JSON names of request fields. Their proto names are the snake_case of these.
pub mod field {
    /// The partner's id of a transaction.
    pub const EXT_TRANSACTION_ID: &str = "extTransactionId";
    /// What an address is.
    pub const TYPE: &str = "type";
    /// A number or an e-mail address.
    pub const ADDRESS: &str = "address";
    /// The gateway's opaque id of an account.
    pub const ACCOUNT_ID: &str = "accountId";
    /// The product that is bought.
    pub const PARTNER_PRODUCT: &str = "partnerProduct";
    /// A decimal amount.
    pub const AMOUNT: &str = "amount";
    /// An ISO 4217 code.
    pub const CURRENCY: &str = "currency";
    /// Text for the bill.
    pub const DESCRIPTION: &str = "description";
    /// The charge that a refund gives back.
    pub const REFERENCE_ID: &str = "referenceId";
    /// A PIN.
    pub const PIN: &str = "pin";
    /// The text of a notification.
    pub const MESSAGE: &str = "message";
    /// The partner's id of a notification.
    pub const EXT_NOTIFICATION_ID: &str = "extNotificationId";
    /// The whole body.
    pub const BODY: &str = "body";
    /// Rows on a page.
    pub const PAGE_SIZE: &str = "pageSize";
    /// Where a page begins.
    pub const PAGE_TOKEN: &str = "pageToken";
    /// Start of a period, inclusive.
    pub const SINCE: &str = "since";
    /// End of a period, exclusive.
    pub const UNTIL: &str = "until";
    /// A status to list by.
    pub const STATUS: &str = "status";
    /// charge or refund.
    pub const KIND: &str = "kind";
    /// What a certification run is called.
    pub const NAME: &str = "name";
    /// Which use cases a run is to show.
    pub const CASES: &str = "cases";
    /// Whether calls that name no run belong to this one.
    pub const TAKES_ALL: &str = "takesAll";
    /// What a report is written as.
    pub const FORMAT: &str = "format";
    /// How far to move the sandbox clock.
    pub const SECONDS: &str = "seconds";
}

/// What kind of violation it is: most are "on" their field, four have a code of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// `violation-on-<field>`.
    OnField,
    /// `reference-id-required`, at `referenceId`.
    ReferenceIdRequired,
    /// `negative-amount`, at `amount`.
    NegativeAmount,
    /// `refund-exceeds-charge`, at `amount`.
    RefundExceedsCharge,
    /// `charge-not-refundable`, at `referenceId`.
    ChargeNotRefundable,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON name of the field.
    pub field: Cow<'static, str>,
    /// Which code it carries.
    pub kind: ViolationKind,
    /// The public reason.
    pub reason: Cow<'static, str>,
}

impl Violation {
    /// `violation-on-<field>` with this reason.
    #[must_use]
    pub fn on(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Cow::Borrowed(field), kind: ViolationKind::OnField, reason: reason.into() }
    }

    /// `violation-on-<field>` for a field name that came from outside.
    #[must_use]
    pub fn on_named(field: String, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Cow::Owned(field), kind: ViolationKind::OnField, reason: reason.into() }
    }

    /// Required and missing, null or empty.
    #[must_use]
    pub fn missing(field: &'static str) -> Self {
        Self::on(field, reason::MUST_NOT_BE_NULL)
    }

    /// Rows 1 and 2 of the charge-or-refund table (use case 22).
    #[must_use]
    pub const fn reference_id_required() -> Self {
        Self {
            field: Cow::Borrowed(field::REFERENCE_ID),
            kind: ViolationKind::ReferenceIdRequired,
            reason: Cow::Borrowed("Reference Id is required to proceed refund transaction"),
        }
    }

    /// Row 3 of the charge-or-refund table (use case 23).
    #[must_use]
    pub const fn negative_amount() -> Self {
        Self {
            field: Cow::Borrowed(field::AMOUNT),
            kind: ViolationKind::NegativeAmount,
            reason: Cow::Borrowed("Negative Amount is required to proceed refund transaction"),
        }
    }

    /// The refund is more than is left of its charge; `left` is printed as amounts are.
    #[must_use]
    pub fn refund_exceeds_charge(left: &str) -> Self {
        Self {
            field: Cow::Borrowed(field::AMOUNT),
            kind: ViolationKind::RefundExceedsCharge,
            reason: Cow::Owned(format!("must be at most {left}")),
        }
    }

    /// The charge is not `Success`.
    #[must_use]
    pub const fn charge_not_refundable() -> Self {
        Self {
            field: Cow::Borrowed(field::REFERENCE_ID),
            kind: ViolationKind::ChargeNotRefundable,
            reason: Cow::Borrowed("charge is not Success"),
        }
    }

    /// The charge's CSP books no refunds.
    #[must_use]
    pub const fn csp_books_no_refunds() -> Self {
        Self {
            field: Cow::Borrowed(field::REFERENCE_ID),
            kind: ViolationKind::ChargeNotRefundable,
            reason: Cow::Borrowed("CSP does not refund"),
        }
    }

    /// The literal code, for example `violation-on-address`.
    #[must_use]
    pub fn code(&self) -> Cow<'static, str> {
        match self.kind {
            ViolationKind::OnField => Cow::Owned(format!("violation-on-{}", self.field)),
            ViolationKind::ReferenceIdRequired => Cow::Borrowed("reference-id-required"),
            ViolationKind::NegativeAmount => Cow::Borrowed("negative-amount"),
            ViolationKind::RefundExceedsCharge => Cow::Borrowed("refund-exceeds-charge"),
            ViolationKind::ChargeNotRefundable => Cow::Borrowed("charge-not-refundable"),
        }
    }

    /// The code as `google.rpc.BadRequest` carries it, for example `VIOLATION_ON_EXT_TRANSACTION_ID`.
    #[must_use]
    pub fn code_reason(&self) -> String {
        upper_snake(&self.code())
    }

    /// The field's name in the proto, for example `ext_transaction_id`.
    #[must_use]
    pub fn proto_field(&self) -> String {
        let mut name = String::with_capacity(self.field.len().saturating_add(4));
        for character in self.field.chars() {
            if character.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(character.to_ascii_lowercase());
        }
        name
    }
}

/// The public reasons of violations (contract section 2).
pub mod reason {
    use std::borrow::Cow;

    /// Required and missing, null or empty.
    pub const MUST_NOT_BE_NULL: &str = "must not be null";
    /// Any type that the RPC does not take.
    pub const TYPE_MUST_BE_MSISDN: &str = "type must be MSISDN";
    /// An address of type EMAIL that is none.
    pub const EMAIL: &str = "must be a well-formed email address";
    /// Not a decimal number, or of a wrong JSON type.
    pub const DECIMAL: &str = "must be a decimal number";
    /// A charge of nothing.
    pub const NOT_ZERO: &str = "must not be 0";
    /// The key of another request.
    pub const ALREADY_USED: &str = "already used by another transaction";
    /// The id of another notification.
    pub const NOTIFICATION_ALREADY_USED: &str = "already used by another notification";
    /// A refund whose field differs from its charge's.
    pub const THE_CHARGES: &str = "must be the charge's";
    /// An account id beside an address of another account.
    pub const ACCOUNT_OF_ADDRESS: &str = "must be the account of the address";
    /// A field that the request does not have.
    pub const UNKNOWN_FIELD: &str = "unknown field";
    /// A field that came twice.
    pub const DUPLICATE_FIELD: &str = "duplicate field";
    /// A wrong JSON type.
    pub const STRING: &str = "must be a string";
    /// A wrong JSON type of an unbounded integer.
    pub const INTEGER: &str = "must be an integer";
    /// An integer that 64 bits cannot hold.
    pub const INTEGER_64: &str = "must be an integer of at most 64 bits";
    /// A wrong JSON type of a number.
    pub const NUMBER: &str = "must be a number";
    /// A wrong JSON type of a truth value.
    pub const BOOLEAN: &str = "must be true or false";
    /// A wrong JSON type of a message or map.
    pub const OBJECT: &str = "must be an object";
    /// A wrong JSON type of a list.
    pub const LIST: &str = "must be a list";
    /// Not base64.
    pub const BASE64: &str = "must be base64";
    /// Not a duration as proto3 JSON writes it.
    pub const DURATION: &str = "must be a number of seconds followed by s";
    /// More than one field of a oneof.
    pub const ALTERNATIVES: &str = "must be the only one of its alternatives";
    /// Objects within objects within objects.
    pub const TOO_DEEP: &str = "must not be nested deeper";
    /// A body that is no JSON object, or is too large.
    pub const BODY_OBJECT: &str = "must be a JSON object of at most 65536 bytes";
    /// The same on gRPC.
    pub const BODY_PROTOBUF: &str = "must be a protobuf message of at most 65536 bytes";
    /// A wrong content type.
    pub const BODY_JSON: &str = "must be application/json";
    /// Bytes that are no UTF-8, on either face.
    pub const BODY_UTF8: &str = "must be UTF-8";
    /// A page token that is not one of ours for this list.
    pub const NOT_VALID: &str = "is not valid";
    /// Not an RFC 3339 time.
    pub const TIME: &str = "must be an RFC 3339 time";
    /// A status to list by.
    pub const ONE_OF_STATUS: &str = "must be one of Success, Failure, Pending";
    /// A kind to ask for.
    pub const ONE_OF_KIND: &str = "must be one of charge, refund";
    /// Bill text.
    pub const DESCRIPTION_SIZE: &str = "size must be between 0 and 128";
    /// Text of a notification.
    pub const MESSAGE_SIZE: &str = "size must be between 1 and 480";
    /// The name of a certification run.
    pub const RUN_NAME_SIZE: &str = "size must be between 1 and 80";
    /// A choice of cases.
    pub const CASE_NUMBERS: &str = "must be numbers and ranges from 1 to 28";
    /// At most one run takes the calls that name none.
    pub const TAKEN: &str = "already so of another open run";
    /// What a report can be.
    pub const ONE_OF_FORMAT: &str = "must be one of json, html, junit";
    /// The sandbox clock.
    pub const CLOCK_SECONDS: &str = "must be between 1 and 2592000 in all";

    /// A value that does not match a regular expression.
    #[must_use]
    pub fn must_match(pattern: &str) -> Cow<'static, str> {
        Cow::Owned(format!("must match \"{pattern}\""))
    }

    /// A well-formed currency that is not the CSP's.
    #[must_use]
    pub fn must_be(currency: &str) -> Cow<'static, str> {
        Cow::Owned(format!("must be {currency}"))
    }

    /// An amount above a bound, which is printed as amounts are.
    #[must_use]
    pub fn at_most(amount: &str) -> Cow<'static, str> {
        Cow::Owned(format!("must be at most {amount}"))
    }

    /// More decimals than the currency has.
    #[must_use]
    pub fn decimals_max(decimals: u8) -> Cow<'static, str> {
        Cow::Owned(format!("must have at most {decimals} decimals"))
    }

    /// A word that is none of those known.
    #[must_use]
    pub fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> Cow<'static, str> {
        Cow::Owned(format!("must be one of {}", words.collect::<Vec<_>>().join(", ")))
    }

    /// An integer out of its bounds, or none at all.
    #[must_use]
    pub fn between(minimum: i64, maximum: i64, suffix: &str) -> Cow<'static, str> {
        Cow::Owned(format!("must be between {minimum} and {maximum}{suffix}"))
    }
}

/// The texts that an outcome is answered with (contract section 3). A CSP's own verdicts are data of its profile.
pub mod outcome {
    /// Success, of refunds too.
    pub const SUCCESS: &str = "Charge success";
    /// Not known yet.
    pub const PENDING: &str = "Charge pending";
    /// A refusal of the CSP that has no text of its own.
    pub const DECLINED: &str = "Charge declined";
    /// The CSP never heard of it, and never will.
    pub const NOT_CONFIRMED: &str = "Charge not confirmed";
    /// Prepaid, and not enough left.
    pub const INSUFFICIENT_FUNDS: &str = "Insufficient funds";
    /// A daily limit, the CSP's (use case 24) or one that is configured here.
    pub const DAILY_LIMIT: &str = "Over spending daily limit";
    /// A monthly limit.
    pub const MONTHLY_LIMIT: &str = "Over spending monthly limit";
    /// A limit of one charge.
    pub const TRANSACTION_LIMIT: &str = "Over spending transaction limit";
}

/// UPPER_SNAKE of a literal: camel humps are words, any run of other characters is one underscore.
fn upper_snake(text: &str) -> String {
    let mut snake = String::with_capacity(text.len().saturating_add(8));
    let mut previous_is_lower = false;
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            if character.is_ascii_uppercase() && previous_is_lower {
                snake.push('_');
            }
            snake.push(character.to_ascii_uppercase());
            previous_is_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        } else {
            if !snake.ends_with('_') {
                snake.push('_');
            }
            previous_is_lower = false;
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_upper_snake_with_one_underscore_a_run() {
        assert_eq!(ErrorCode::EligibilityFailedCsp.reason(), "ELIGIBILITY_FAILED_CSP");
        assert_eq!(Violation::missing(field::EXT_TRANSACTION_ID).code_reason(), "VIOLATION_ON_EXT_TRANSACTION_ID");
        assert_eq!(Violation::negative_amount().code_reason(), "NEGATIVE_AMOUNT");
    }

    #[test]
    fn a_reason_leads_back_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_reason(&code.reason()), Some(code));
        }
    }

    #[test]
    fn proto_fields_are_the_snake_case_of_json_names() {
        assert_eq!(Violation::missing(field::PARTNER_PRODUCT).proto_field(), "partner_product");
        assert_eq!(Violation::reference_id_required().proto_field(), "reference_id");
    }

    #[test]
    fn only_a_lone_currency_or_negative_amount_drops_the_full_stop() {
        let currency = Violation::on(field::CURRENCY, reason::must_be("MXN"));
        let product = Violation::missing(field::PARTNER_PRODUCT);
        for (violations, message) in [
            (vec![currency.clone()], "Invalid request"),
            (vec![Violation::negative_amount()], "Invalid request"),
            (vec![product.clone()], "Invalid request."),
            (vec![product, currency], "Invalid request."),
            (vec![Violation::refund_exceeds_charge("4.5")], "Invalid request."),
        ] {
            assert_eq!(message_for(ErrorCode::InvalidRequest, &violations), message, "{violations:?}");
        }
    }
}
