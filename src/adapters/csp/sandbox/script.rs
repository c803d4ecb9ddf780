//! The script: one table of what each condition does (contract section 6).
//!
//! Invariant: whatever is special about an account is in its row here, as data; nothing else in the sandbox asks for a
//! condition by its number.

use std::time::Duration;

use crate::domain::account::{Eligibility, PaymentModel, Standing};

/// How an account behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Script {
    /// Whether it is in use.
    pub(super) standing: Standing,
    /// How it pays.
    pub(super) payment: PaymentModel,
    /// Whether the operator's own rule lets it buy, whatever the product.
    pub(super) eligibility: Eligibility,
    /// What it may spend.
    pub(super) spending: Spending,
    /// What becomes of its charges.
    pub(super) on_charge: OnCharge,
    /// How long each answer about it takes.
    pub(super) answer_after: Duration,
    /// Whether it can also be named by its e-mail address.
    pub(super) has_email: bool,
}

/// What an account may spend, in whole units of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spending {
    /// As much as it likes.
    Unlimited,
    /// So much on one day.
    DailyLimit(i64),
    /// So much in all: a balance.
    Balance(i64),
}

/// What becomes of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnCharge {
    /// It is decided and answered.
    Answered,
    /// It is decided, but no answer comes.
    AnswerLost,
    /// It never arrives, and no answer comes.
    NeverArrives,
    /// So many attempts at each reference are turned away as not applied.
    TurnedAwayFirst(u32),
    /// The operator cannot be reached.
    Unreachable,
}

const ORDINARY: Script = Script {
    standing: Standing::Active,
    payment: PaymentModel::Postpaid,
    eligibility: Eligibility::Eligible,
    spending: Spending::Unlimited,
    on_charge: OnCharge::Answered,
    answer_after: Duration::ZERO,
    has_email: false,
};

const PREPAID: Script = Script { payment: PaymentModel::Prepaid, ..ORDINARY };

/// The row of a condition: the last two digits of a number. `None`: no such account.
pub(super) const fn of(condition: u8) -> Option<Script> {
    Some(match condition {
        1 | 16 => ORDINARY,
        2 => Script { standing: Standing::Ceased, ..ORDINARY },
        3 => Script { standing: Standing::SuspendedNonPayment, ..ORDINARY },
        4 => Script { standing: Standing::SuspendedLostStolen, ..ORDINARY },
        5 => Script { eligibility: Eligibility::NotEligible, ..ORDINARY },
        6 => Script { spending: Spending::Balance(200), ..PREPAID },
        7 => Script { spending: Spending::DailyLimit(1000), ..ORDINARY },
        8 => Script { spending: Spending::Balance(0), ..PREPAID },
        11 => Script { on_charge: OnCharge::AnswerLost, ..ORDINARY },
        12 => Script { on_charge: OnCharge::NeverArrives, ..ORDINARY },
        13 => Script { answer_after: Duration::from_millis(250), ..ORDINARY },
        14 => Script { on_charge: OnCharge::TurnedAwayFirst(2), ..ORDINARY },
        15 => Script { on_charge: OnCharge::Unreachable, ..ORDINARY },
        20 => Script { has_email: true, ..ORDINARY },
        _ => return None,
    })
}
