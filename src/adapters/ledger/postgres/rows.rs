//! Rows of the ledger's tables, as values of the domain and back.
//!
//! Invariant: every value survives being written and read, texts with NUL characters included, which PostgreSQL cannot
//! keep as they are; a row that is none of ours is an error and never a guess. SQL is not here.

use std::borrow::Cow;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::super::words::{self, Kept};
use super::error::Trouble;
use crate::domain::Time;
use crate::domain::account::{AccountKey, SealedAccountId};
use crate::domain::address::Address;
use crate::domain::ids::{
    AccountRef, ChargeCode, CspId, ExtTransactionId, InstanceId, PartnerId, ProductId, Reference,
};
use crate::domain::limits::{self, Counted};
use crate::domain::money::{Currency, Decimal, Money};
use crate::domain::transaction::{Compared, Kind, Lease, State, Transaction, TransactionKey};

/// The columns that [`transaction`] reads, in its order, of the table that is called `t`.
pub(super) const TRANSACTION: &str = "t.partner, t.kind, t.ext_id, t.reference, t.state, t.version, \
     t.sent_address_type, t.sent_address, t.sent_account_id, t.sent_product, t.sent_amount, t.sent_currency, \
     t.sent_description, t.sent_reference_id, t.csp, t.account_ref, t.charge_code, t.amount_minor, t.currency, \
     t.accepted_at_us, t.failure, t.private_note, t.refunds_held_minor, t.refunds_done_minor, t.lease_owner, \
     t.lease_until_us, t.due_at_us, t.sent_before_us, t.inquiries, t.stuck, t.counted";

/// A text as it is stored. One text is stored in one way, so that what is stored can be looked for.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A text as it was before it was stored; `None` where it was never stored so.
fn restored(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut whole = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                '\\' => whole.push('\\'),
                '0' => whole.push('\0'),
                _ => return None,
            },
            other => whole.push(other),
        }
    }
    Some(Cow::Owned(whole))
}

/// Reads the columns of a row one after the other.
pub(super) struct Fields<'row> {
    row: &'row Row,
    next: usize,
}

impl<'row> Fields<'row> {
    /// Begins with the first column.
    pub(super) const fn of(row: &'row Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next column through a function that says `None` where it cannot be read.
    fn read<F: FromSql<'row>, T>(&mut self, read: impl FnOnce(F) -> Option<T>) -> Result<T, Trouble> {
        let index = self.next;
        self.next = index.saturating_add(1);
        self.row.try_get::<_, F>(index).ok().and_then(read).ok_or(Trouble::Unreadable(index))
    }

    pub(super) fn text<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Trouble> {
        self.read(|text: &str| restored(text).and_then(|text| read(&text)))
    }

    fn text_or_null<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Trouble> {
        self.read(|text: Option<&str>| match text {
            Some(text) => restored(text).and_then(|text| read(&text)).map(Some),
            None => Some(None),
        })
    }

    /// A text that may be anything.
    pub(super) fn words<T>(&mut self, make: impl FnOnce(&str) -> T) -> Result<T, Trouble> {
        self.text(|text| Some(make(text)))
    }

    pub(super) fn words_or_null<T>(&mut self, make: impl FnOnce(&str) -> T) -> Result<Option<T>, Trouble> {
        self.text_or_null(|text| Some(make(text)))
    }

    /// A text as it is.
    pub(super) fn string(&mut self) -> Result<String, Trouble> {
        self.words(ToOwned::to_owned)
    }

    /// An integer that fits its type.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, Trouble> {
        self.read(|number: i64| T::try_from(number).ok())
    }

    pub(super) fn number_or_null(&mut self) -> Result<Option<i64>, Trouble> {
        self.read(Some)
    }

    /// A small integer that fits its type.
    pub(super) fn small_number<T: TryFrom<i32>>(&mut self) -> Result<T, Trouble> {
        self.read(|number: i32| T::try_from(number).ok())
    }

    /// A time in microseconds.
    pub(super) fn time(&mut self) -> Result<Time, Trouble> {
        self.read(|time_us: i64| Time::from_microsecond(time_us).ok())
    }

    pub(super) fn time_or_null(&mut self) -> Result<Option<Time>, Trouble> {
        self.read(|time_us: Option<i64>| match time_us {
            Some(time_us) => Time::from_microsecond(time_us).ok().map(Some),
            None => Some(None),
        })
    }

    /// A state's word.
    pub(super) fn state(&mut self) -> Result<State, Trouble> {
        self.text(words::state)
    }

    /// A reference.
    pub(super) fn reference(&mut self) -> Result<Reference, Trouble> {
        self.read(|bytes: &[u8]| bytes.try_into().ok().map(Reference::from_bytes))
    }

    /// A key.
    pub(super) fn key(&mut self) -> Result<TransactionKey, Trouble> {
        Ok(TransactionKey {
            partner: self.words(PartnerId::new)?,
            kind: self.text(Kind::from_word)?,
            ext_transaction_id: self.text(ExtTransactionId::parse)?,
        })
    }

    fn address(&mut self) -> Result<Option<Kept>, Trouble> {
        let kind = self.words_or_null(ToOwned::to_owned)?;
        self.text_or_null(|text| words::kept_address(kind.as_deref()?, text))
    }

    fn counted(&mut self) -> Result<Vec<Counted>, Trouble> {
        Ok(self.text_or_null(limits::from_text)?.unwrap_or_default())
    }

    fn lease(&mut self) -> Result<Option<Lease>, Trouble> {
        let owner = self.words_or_null(InstanceId::new)?;
        let until = self.time_or_null()?;
        match (owner, until) {
            (Some(owner), Some(until)) => Ok(Some(Lease { owner, until })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(Trouble::Unreadable(self.next)),
        }
    }
}

/// Reads the columns of [`TRANSACTION`], in their order.
pub(super) fn transaction(fields: &mut Fields<'_>) -> Result<Transaction, Trouble> {
    let key = fields.key()?;
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
        failure: fields.words_or_null(|text| Arc::from(text))?,
        private_note: fields.words_or_null(|text| Arc::from(text))?,
        refunds_held_minor: fields.number()?,
        refunds_done_minor: fields.number()?,
        lease: fields.lease()?,
        due_at: fields.time_or_null()?,
        sent_before: fields.time()?,
        inquiries: fields.number()?,
        stuck: fields.words_or_null(|text| Arc::from(text))?,
        counted: fields.counted()?,
    })
}

fn compared(fields: &mut Fields<'_>, address: Option<Address>) -> Result<Compared, Trouble> {
    Ok(Compared {
        address,
        account_id: fields.words_or_null(SealedAccountId::new)?,
        partner_product: fields.words(ProductId::new)?,
        amount: fields.text(Decimal::parse)?,
        currency: fields.words(|text| Arc::from(text))?,
        description: fields.words(|text| Arc::from(text))?,
        reference_id: fields.text_or_null(ExtTransactionId::parse)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_is_stored_in_one_way_without_nul(text in "[a\\\\\\x000\u{e9}]{0,12}") {
            let kept = stored(&text);
            prop_assert!(!kept.contains('\0'));
            let whole = restored(&kept);
            prop_assert_eq!(whole.as_deref(), Some(text.as_str()));
        }
    }

    #[test]
    fn what_was_never_stored_so_cannot_be_read() {
        for text in ["\\", "a\\b", "\\\\\\"] {
            assert_eq!(restored(text), None, "{text:?}");
        }
    }
}
