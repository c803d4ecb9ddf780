//! The charge-or-refund table, and the form of every field.

use super::*;
use crate::domain::money::Money;
use crate::domain::transaction::samples;

const PERFECT: Raw<'static> = Raw {
    ext_transaction_id: "c1",
    type_word: "MSISDN",
    address: "5550100001",
    account_id: "",
    partner_product: "ott-basic",
    amount: "9.99",
    currency: "MXN",
    description: "",
    reference_id: None,
};

fn read_it(raw: &Raw<'_>) -> Reading {
    read(raw, &samples::partner(), &samples::directory(), None)
}

fn listed(reading: &Reading) -> Vec<(String, String)> {
    reading.violations.iter().map(|violation| (violation.code().into_owned(), violation.reason.to_string())).collect()
}

fn check(raw: Raw<'_>, expected: &[(&str, &str)]) {
    let reading = read_it(&raw);
    let expected: Vec<_> = expected.iter().map(|(code, reason)| ((*code).to_owned(), (*reason).to_owned())).collect();
    assert_eq!(listed(&reading), expected, "{raw:?}");
}

const NULL: &str = "must not be null";
const REFERENCE: (&str, &str) = ("reference-id-required", "Reference Id is required to proceed refund transaction");
const NEGATIVE: (&str, &str) = ("negative-amount", "Negative Amount is required to proceed refund transaction");
const ZERO: (&str, &str) = ("violation-on-amount", "must not be 0");
const NO_ID: (&str, &str) = ("violation-on-extTransactionId", NULL);

#[test]
fn the_first_row_that_fits_decides() {
    for (reference_id, id, amount, expected) in [
        // Row 1: whatever the rest.
        (Some(""), "c1", "1", Some(REFERENCE)),
        (Some(""), "", "-1", Some(REFERENCE)),
        (Some(""), "", "0", Some(REFERENCE)),
        // Row 2.
        (None, "", "-1", Some(REFERENCE)),
        (Some("c0"), "", "-1", Some(REFERENCE)),
        // Row 3.
        (Some("c0"), "c1", "1", Some(NEGATIVE)),
        (Some("c0"), "c1", "0", Some(NEGATIVE)),
        (Some("c0"), "", "1", Some(NEGATIVE)),
        // Row 4.
        (None, "c1", "0", Some(ZERO)),
        (None, "c1", "-0.00", Some(ZERO)),
        (None, "", "0", Some(ZERO)),
        // Row 5.
        (None, "", "1", Some(NO_ID)),
        // Rows 6, 7 and 8.
        (None, "c1", "1", None),
        (None, "c1", "-1", None),
        (Some("c0"), "c1", "-1", None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        check(Raw { reference_id, ext_transaction_id: id, amount, ..PERFECT }, &expected);
    }
}

#[test]
fn the_key_of_a_refund_is_its_own_id() {
    for (amount, reference_id, kind) in
        [("1", None, Kind::Charge), ("-1", None, Kind::Refund), ("-1", Some("c0"), Kind::Refund)]
    {
        let reading = read_it(&Raw { amount, reference_id, ..PERFECT });
        let key = reading.well_formed.expect("well formed").key;
        assert_eq!((key.kind, key.ext_transaction_id.as_str()), (kind, "c1"), "{reference_id:?} {amount}");
    }
}

#[test]
fn each_field_has_its_form() {
    let long = "x".repeat(129);
    let just = "ü".repeat(128);
    let pattern = "must match \"^[A-Za-z0-9._:-]{1,64}$\"";
    let on = |field: &str| format!("violation-on-{field}");
    for (raw, field, reason) in [
        (Raw { ext_transaction_id: "a b", ..PERFECT }, "extTransactionId", pattern),
        (Raw { reference_id: Some("a/b"), amount: "-1", ..PERFECT }, "referenceId", pattern),
        (Raw { type_word: "", ..PERFECT }, "type", NULL),
        (Raw { type_word: "SMS", address: "", ..PERFECT }, "type", "type must be MSISDN"),
        (Raw { address: "", ..PERFECT }, "address", NULL),
        (Raw { address: "abc", ..PERFECT }, "address", "must match \"^[0-9]{10}$\""),
        (Raw { address: "5550100001\n", ..PERFECT }, "address", "must match \"^[0-9]{10}$\""),
        (Raw { type_word: "EMAIL", address: "abc", ..PERFECT }, "address", "must be a well-formed email address"),
        (Raw { type_word: "EMAIL", address: "", ..PERFECT }, "address", NULL),
        (Raw { partner_product: "", ..PERFECT }, "partnerProduct", NULL),
        (Raw { amount: "", ..PERFECT }, "amount", NULL),
        (Raw { amount: "1e-3", ..PERFECT }, "amount", "must be a decimal number"),
        (Raw { amount: "9.999", ..PERFECT }, "amount", "must have at most 2 decimals"),
        (Raw { amount: "-9.999", ..PERFECT }, "amount", "must have at most 2 decimals"),
        (Raw { currency: "", ..PERFECT }, "currency", NULL),
        (Raw { currency: "mxn", ..PERFECT }, "currency", "must match \"^[A-Z]{3}$\""),
        (Raw { currency: "USD", amount: "9.999", ..PERFECT }, "currency", "must be MXN"),
        (Raw { description: &long, ..PERFECT }, "description", "size must be between 0 and 128"),
    ] {
        check(raw, &[(&on(field), reason)]);
    }
    check(Raw { description: &just, ..PERFECT }, &[]);
    check(Raw { amount: "9.990", ..PERFECT }, &[]);
}

#[test]
fn an_empty_request_lists_everything_that_is_missing_in_the_order_of_fields() {
    let empty = Raw {
        ext_transaction_id: "",
        type_word: "",
        address: "",
        account_id: "",
        partner_product: "",
        amount: "",
        currency: "",
        description: "",
        reference_id: None,
    };
    check(
        empty,
        &[
            NO_ID,
            ("violation-on-type", NULL),
            ("violation-on-address", NULL),
            ("violation-on-partnerProduct", NULL),
            ("violation-on-amount", NULL),
            ("violation-on-currency", NULL),
        ],
    );
}

#[test]
fn an_account_id_stands_in_for_type_and_address_but_not_for_half_of_them() {
    let by_id = Raw { type_word: "", address: "", account_id: "acc_x", ..PERFECT };
    check(by_id, &[]);
    check(Raw { type_word: "MSISDN", ..by_id }, &[("violation-on-address", NULL)]);
    check(Raw { address: "5550100001", ..by_id }, &[("violation-on-type", NULL)]);
}

#[test]
fn a_refunds_currency_is_left_to_its_charge() {
    check(Raw { currency: "USD", amount: "-9.999", ..PERFECT }, &[]);
    check(Raw { currency: "USD", reference_id: Some(""), ..PERFECT }, &[REFERENCE]);
}

#[test]
fn what_only_the_configuration_refuses_is_still_well_formed_so_that_a_replay_is_found() {
    for raw in
        [Raw { address: "123", ..PERFECT }, Raw { currency: "USD", ..PERFECT }, Raw { amount: "9.999", ..PERFECT }]
    {
        let reading = read_it(&raw);
        assert!(reading.well_formed.is_some() && !reading.violations.is_empty(), "{raw:?}");
    }
    assert!(read_it(&Raw { currency: "usd", ..PERFECT }).well_formed.is_none());
}

#[test]
fn a_lone_bad_currency_has_the_certified_message() {
    let refusal = read_it(&Raw { currency: "PESOS", ..PERFECT }).refusal();
    assert_eq!(
        refusal,
        Some(Refusal::Invalid(vec![Violation::on(field::CURRENCY, reason::must_match(Currency::PATTERN))]))
    );
}

#[test]
fn a_charge_above_the_csps_bound_is_refused_before_it_is_sent_and_a_refund_is_not() {
    let mut profile = samples::profile();
    profile.amount_max = Some(Money::new(150_000, profile.currency));
    let directory = Directory::new(vec![samples::partner()], vec![profile]).expect("a directory");
    for (amount, reason) in [
        ("1500", None),
        ("1500.00", None),
        ("-1500.01", None),
        ("1500.01", Some("must be at most 1500.0")),
        ("999999999999", Some("must be at most 1500.0")),
        ("1500.001", Some("must have at most 2 decimals")),
    ] {
        let reading = read(&Raw { amount, ..PERFECT }, &samples::partner(), &directory, None);
        let expected: Vec<_> = reason.map(|reason| ("violation-on-amount".into(), reason.into())).into_iter().collect();
        assert_eq!(listed(&reading), expected, "{amount}");
    }
}
