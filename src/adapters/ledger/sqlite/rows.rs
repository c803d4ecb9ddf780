//! Rows of the ledger's file, as values of the domain and back.
//!
//! Invariant: every value survives being written and read, texts with NUL characters included; a row that is none of
//! ours is an error and never a guess. SQL is not here.

use std::sync::Arc;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Row};

use super::super::words::{self, Kept};
use crate::domain::Time;
use crate::domain::account::{AccountKey, SealedAccountId};
use crate::domain::address::Address;
use crate::domain::ids::{
    AccountRef, ChargeCode, CspId, ExtTransactionId, InstanceId, PartnerId, ProductId, Reference,
};
use crate::domain::limits::{self, Counted};
use crate::domain::money::{Currency, Decimal, Money};
use crate::domain::transaction::{Compared, Kind, Lease, State, Transaction, TransactionKey};

/// The columns that [`transaction`] reads, in its order.
pub(super) const TRANSACTION: &str = "partner, kind, ext_id, reference, state, version, \
     sent_address_type, sent_address, sent_account_id, sent_product, sent_amount, sent_currency, sent_description, \
     sent_reference_id, csp, account_ref, charge_code, amount_minor, currency, accepted_at_us, failure, private_note, \
     refunds_held_minor, refunds_done_minor, lease_owner, lease_until_us, due_at_us, sent_before_us, inquiries, stuck, \
     counted";

/// The schema from which on there are counters.
pub(super) const COUNTERS_SINCE: i32 = 3;

/// The same of a file whose schema is older, and is read as it is.
pub(super) fn columns_of(schema: i32) -> String {
    if schema >= COUNTERS_SINCE { TRANSACTION.to_owned() } else { TRANSACTION.replace("counted", "NULL") }
}

/// A column holds what no release of ours has written.
#[derive(Debug, thiserror::Error)]
#[error("column {0} of a row cannot be read")]
struct Unreadable(usize);

/// Reads the columns of a row one after the other.
pub(super) struct Fields<'row, 'statement> {
    row: &'row Row<'statement>,
    next: usize,
}

impl<'row, 'statement> Fields<'row, 'statement> {
    /// Begins with the first column.
    pub(super) const fn of(row: &'row Row<'statement>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column through a function that says `None` where it cannot be read.
    fn read<T>(&mut self, read: impl FnOnce(ValueRef<'row>) -> Option<T>) -> Result<T, Error> {
        let index = self.next;
        self.next = index.saturating_add(1);
        let value = self.row.get_ref(index)?;
        let kind = value.data_type();
        read(value).ok_or_else(|| Error::FromSqlConversionFailure(index, kind, Box::new(Unreadable(index))))
    }

    pub(super) fn text<T>(&mut self, read: impl FnOnce(&'row str) -> Option<T>) -> Result<T, Error> {
        self.read(|value| value.as_str().ok().and_then(read))
    }

    fn text_or_null<T>(&mut self, read: impl FnOnce(&'row str) -> Option<T>) -> Result<Option<T>, Error> {
        self.read(|value| match value.as_str_or_null().ok()? {
            Some(text) => read(text).map(Some),
            None => Some(None),
        })
    }

    /// A text that may be anything.
    fn words<T>(&mut self, make: impl FnOnce(&'row str) -> T) -> Result<T, Error> {
        self.text(|text| Some(make(text)))
    }

    pub(super) fn words_or_null<T>(&mut self, make: impl FnOnce(&'row str) -> T) -> Result<Option<T>, Error> {
        self.text_or_null(|text| Some(make(text)))
    }

    /// An integer that fits its type.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, Error> {
        self.read(|value| value.as_i64().ok().and_then(|number| T::try_from(number).ok()))
    }

    /// A text as it is.
    pub(super) fn string(&mut self) -> Result<String, Error> {
        self.text(|text| Some(text.to_owned()))
    }

    /// A time in microseconds.
    pub(super) fn time(&mut self) -> Result<Time, Error> {
        self.read(|value| value.as_i64().ok().and_then(|time_us| Time::from_microsecond(time_us).ok()))
    }

    pub(super) fn time_or_null(&mut self) -> Result<Option<Time>, Error> {
        self.read(|value| match value.as_i64_or_null().ok()? {
            Some(time_us) => Time::from_microsecond(time_us).ok().map(Some),
            None => Some(None),
        })
    }

    /// A state's word.
    pub(super) fn state(&mut self) -> Result<State, Error> {
        self.text(words::state)
    }

    /// A reference.
    pub(super) fn reference(&mut self) -> Result<Reference, Error> {
        self.read(|value| value.as_blob().ok()?.try_into().ok().map(Reference::from_bytes))
    }

    fn address(&mut self) -> Result<Option<Kept>, Error> {
        let kind = self.words_or_null(|word| word)?;
        self.text_or_null(|text| words::kept_address(kind?, text))
    }

    fn counted(&mut self) -> Result<Vec<Counted>, Error> {
        Ok(self.text_or_null(limits::from_text)?.unwrap_or_default())
    }

    fn lease(&mut self) -> Result<Option<Lease>, Error> {
        let owner = self.words_or_null(InstanceId::new)?;
        let until = self.time_or_null()?;
        match (owner, until) {
            (Some(owner), Some(until)) => Ok(Some(Lease { owner, until })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                Err(Error::FromSqlConversionFailure(self.next, Type::Null, Box::new(Unreadable(self.next))))
            }
        }
    }
}

/// Reads the columns of [`TRANSACTION`], in their order.
pub(super) fn transaction(fields: &mut Fields<'_, '_>) -> Result<Transaction, Error> {
    let key = TransactionKey {
        partner: fields.words(PartnerId::new)?,
        kind: fields.text(Kind::from_word)?,
        ext_transaction_id: fields.text(ExtTransactionId::parse)?,
    };
    let (reference, state, version) = (fields.reference()?, fields.state()?, fields.number()?);
    let (address, forgotten) = words::split(fields.address()?);
    Ok(Transaction {
        key,
        reference,
        state,
        version,
        compared: compared(fields, address)?,
        forgotten,
        account: AccountKey { csp: fields.words(CspId::new)?, reference: fields.words(AccountRef::new)? },
        charge_code: fields.words(ChargeCode::new)?,
        money: Money { minor: fields.number()?, currency: fields.text(Currency::from_code)? },
        accepted_at: fields.time()?,
        failure: fields.words_or_null(Arc::from)?,
        private_note: fields.words_or_null(Arc::from)?,
        refunds_held_minor: fields.number()?,
        refunds_done_minor: fields.number()?,
        lease: fields.lease()?,
        due_at: fields.time_or_null()?,
        sent_before: fields.time()?,
        inquiries: fields.number()?,
        stuck: fields.words_or_null(Arc::from)?,
        counted: fields.counted()?,
    })
}

fn compared(fields: &mut Fields<'_, '_>, address: Option<Address>) -> Result<Compared, Error> {
    Ok(Compared {
        address,
        account_id: fields.words_or_null(SealedAccountId::new)?,
        partner_product: fields.words(ProductId::new)?,
        amount: fields.text(Decimal::parse)?,
        currency: fields.words(Arc::from)?,
        description: fields.words(Arc::from)?,
        reference_id: fields.text_or_null(ExtTransactionId::parse)?,
    })
}
