//! The bill: what becomes of each reference, and what stands on whose bill.
//!
//! Invariant: a reference is decided once and for ever, whatever comes under it later; refunds never exceed their
//! charge. A reset opens a new bill for a number and leaves what was decided: a repeat of an old charge is still no second
//! one. How it is stored is in `file`.

use std::path::Path;

use jiff::tz::TimeZone;

use super::code;
use super::file::{BillError, BillFile};
use crate::domain::Time;
use crate::domain::ids::Reference;
use crate::domain::money::Currency;
use crate::ports::sandbox::{BillLine, BookedLine};

/// Something to be booked: a charge, or what a refund gives back.
#[derive(Debug, Clone)]
pub(super) struct Booking {
    pub(super) reference: Reference,
    pub(super) number: String,
    /// Minor units, positive.
    pub(super) minor: i64,
    pub(super) text: String,
    pub(super) at: Time,
    /// Where the operator's days begin.
    pub(super) time_zone: TimeZone,
}

impl Booking {
    fn day(&self) -> String {
        day_of(self.at, &self.time_zone)
    }
}

/// What an account may spend, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// No limit, and nothing is counted.
    None,
    /// On one day.
    Daily(i64),
    /// In all.
    Balance(i64),
}

/// What became of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Booked, with this many minor units, positive.
    Booked(i64),
    /// Refused, with this code.
    Refused(String),
    /// Made void before anything came under it.
    Void,
}

/// What is remembered of a reference.
pub(super) struct Decided {
    pub(super) number: String,
    pub(super) bill: i64,
    /// Negative on a refund.
    pub(super) minor: i64,
    pub(super) charge: Option<Vec<u8>>,
    pub(super) refunded_minor: i64,
    pub(super) refused: Option<String>,
    pub(super) booked_at_us: i64,
}

impl Decided {
    fn decision(&self) -> Decision {
        let booked = || Decision::Booked(self.minor.saturating_abs());
        match self.refused.as_deref() {
            None => booked(),
            Some(code::REFERENCE_VOID) => Decision::Void,
            Some(code) => Decision::Refused(code.to_owned()),
        }
    }

    /// The same answer for the same request; another request is refused.
    fn repeat(&self, number: &str, minor: i64, charge: Option<Reference>) -> Decision {
        let charge = charge.map(|charge| charge.as_bytes().to_vec());
        if self.decision() == Decision::Void {
            return Decision::Void;
        }
        if self.number == number && self.minor == minor && self.charge == charge {
            self.decision()
        } else {
            Decision::Refused(code::REFERENCE_REUSED.to_owned())
        }
    }
}

/// Which bill a number is on, and what has been spent of its limit. Counted only where there is a limit.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) bill: i64,
    pub(super) spent_minor: i64,
    /// The last day of a booking, as ISO 8601 writes it: later days sort behind.
    pub(super) day: String,
    pub(super) day_minor: i64,
}

impl Account {
    /// Turns the page where a new day has begun. It never turns back: bookings at midnight may come in any order.
    fn on(mut self, day: &str) -> Self {
        if self.day.as_str() < day {
            day.clone_into(&mut self.day);
            self.day_minor = 0;
        }
        self
    }

    fn refusal(&self, minor: i64, limit: Limit) -> Option<&'static str> {
        let (spent, max, code) = match limit {
            Limit::None => return None,
            Limit::Daily(max) => (self.day_minor, max, code::DAILY_LIMIT),
            Limit::Balance(max) => (self.spent_minor, max, code::INSUFFICIENT_FUNDS),
        };
        let fits = spent.checked_add(minor).is_some_and(|total| total <= max);
        (!fits).then_some(code)
    }
}

/// All bills.
pub(super) struct Bill {
    file: BillFile,
}

impl Bill {
    /// Opens the bills in a file, and makes it if there is none.
    pub(super) fn open(file: &Path, currency: Currency) -> Result<Self, BillError> {
        Ok(Self { file: BillFile::open(file, currency)? })
    }

    /// Opens bills that are gone when they are dropped.
    pub(super) fn open_in_memory(currency: Currency) -> Result<Self, BillError> {
        Ok(Self { file: BillFile::open_in_memory(currency)? })
    }

    /// Does several things that are committed together or not at all.
    pub(super) fn in_one_transaction(
        &self,
        work: impl FnOnce(&Self) -> Result<(), BillError>,
    ) -> Result<(), BillError> {
        self.file.in_one_transaction(|| work(self))
    }

    /// Books a charge, or refuses it by a limit.
    pub(super) fn charge(&self, booking: &Booking, limit: Limit) -> Result<Decision, BillError> {
        if let Some(decided) = self.file.decided(booking.reference)? {
            return Ok(decided.repeat(&booking.number, booking.minor, None));
        }
        let mut account = self.file.account(&booking.number)?.on(&booking.day());
        if let Some(code) = account.refusal(booking.minor, limit) {
            return self.refuse(booking, booking.minor, None, code);
        }
        self.file.remember(booking, account.bill, booking.minor, None, None)?;
        if limit != Limit::None {
            account.spent_minor = account.spent_minor.saturating_add(booking.minor);
            account.day_minor = account.day_minor.saturating_add(booking.minor);
            self.file.keep(&booking.number, &account)?;
        }
        Ok(Decision::Booked(booking.minor))
    }

    /// Books a refund of a charge, on the bill that the charge is on, or refuses it.
    pub(super) fn refund(&self, booking: &Booking, of: Reference, limit: Limit) -> Result<Decision, BillError> {
        let minor = booking.minor.saturating_neg();
        if let Some(decided) = self.file.decided(booking.reference)? {
            return Ok(decided.repeat(&booking.number, minor, Some(of)));
        }
        let is_charge =
            |found: &Decided| found.refused.is_none() && found.charge.is_none() && found.number == booking.number;
        let Some(charge) = self.file.decided(of)?.filter(is_charge) else {
            return self.refuse(booking, minor, Some(of), code::UNKNOWN_CHARGE);
        };
        let refunded = charge.refunded_minor.checked_add(booking.minor).filter(|sum| *sum <= charge.minor);
        let Some(refunded_minor) = refunded else {
            return self.refuse(booking, minor, Some(of), code::REFUND_EXCEEDS_CHARGE);
        };
        self.file.remember(booking, charge.bill, minor, Some(of), None)?;
        self.file.keep_refunded(of, refunded_minor)?;
        if limit != Limit::None {
            self.give_back(booking, &charge)?;
        }
        Ok(Decision::Booked(booking.minor))
    }

    /// Makes a reference void under which nothing has come. One that is decided stays so.
    pub(super) fn void(&self, reference: Reference, at: Time) -> Result<Decision, BillError> {
        if let Some(decided) = self.file.decided(reference)? {
            return Ok(decided.decision());
        }
        let (number, text) = (String::new(), String::new());
        let nothing = Booking { reference, number, minor: 0, text, at, time_zone: TimeZone::UTC };
        self.refuse(&nothing, 0, None, code::REFERENCE_VOID)?;
        Ok(Decision::Void)
    }

    /// What is known of a reference, and of which number.
    pub(super) fn find(&self, reference: Reference) -> Result<Option<(String, Decision)>, BillError> {
        Ok(self.file.decided(reference)?.map(|decided| (decided.number.clone(), decided.decision())))
    }

    /// The newest lines of a number's bill, oldest first, and the sum of all of them in minor units.
    pub(super) fn lines(
        &self,
        number: &str,
        currency: Currency,
        lines_max: usize,
    ) -> Result<(Vec<BillLine>, i64), BillError> {
        let bill = self.file.account(number)?.bill;
        self.file.lines(number, bill, currency, lines_max)
    }

    /// Lines of all bills after a sequence, oldest first.
    pub(super) fn booked(
        &self,
        after: u64,
        currency: Currency,
        lines_max: usize,
    ) -> Result<Vec<BookedLine>, BillError> {
        self.file.booked(after, currency, lines_max)
    }

    /// The line of a reference.
    pub(super) fn line_of(&self, reference: Reference, currency: Currency) -> Result<Option<BookedLine>, BillError> {
        self.file.line_of(reference, currency)
    }

    /// Opens a new bill for a number, with nothing spent.
    pub(super) fn reset(&self, number: &str) -> Result<(), BillError> {
        let bill = self.file.account(number)?.bill.saturating_add(1);
        self.file.keep(number, &Account { bill, ..Account::default() })
    }

    /// Gives a limit back what a refund was counted against. A charge on an earlier bill, or of an earlier day, counts
    /// against nothing any more.
    fn give_back(&self, booking: &Booking, charge: &Decided) -> Result<(), BillError> {
        let mut account = self.file.account(&booking.number)?.on(&booking.day());
        if account.bill != charge.bill {
            return Ok(());
        }
        let charged_at = Time::from_microsecond(charge.booked_at_us).map_err(|_| BillError::Damaged("a time"))?;
        if day_of(charged_at, &booking.time_zone) == account.day {
            account.day_minor = account.day_minor.saturating_sub(booking.minor);
        }
        account.spent_minor = account.spent_minor.saturating_sub(booking.minor);
        self.file.keep(&booking.number, &account)
    }

    fn refuse(
        &self,
        booking: &Booking,
        minor: i64,
        charge: Option<Reference>,
        code: &'static str,
    ) -> Result<Decision, BillError> {
        self.file.remember(booking, 0, minor, charge, Some(code))?;
        Ok(Decision::Refused(code.to_owned()))
    }
}

fn day_of(at: Time, time_zone: &TimeZone) -> String {
    time_zone.to_datetime(at).date().to_string()
}
