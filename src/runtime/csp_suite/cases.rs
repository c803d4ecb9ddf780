//! The cases: what each shows, why a gateway needs it, and what it needs itself.
//!
//! Invariant: numbers are for ever, as they are in reports; a new case gets the next. Cases are run in this order.

use std::future::Future;
use std::pin::Pin;

use super::bench::Bench;
use super::{Subject, Terms, Verdict, accounts, charges, connections, outcomes, refunds};
use crate::domain::address::Msisdn;
use crate::runtime::config::tables::{RecoveryWord, RefundsWord};

type Run = for<'a> fn(&'a mut Bench) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A case.
pub struct Case {
    /// Its number.
    pub id: u8,
    /// Group of cases.
    pub group: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The situation.
    pub given: &'static str,
    /// Why a gateway needs it.
    pub why: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) run: Run,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.id, self.title)
    }
}

/// What a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Ceased,
    SuspendedNonPayment,
    SuspendedLostStolen,
    NotEligible,
    PrepaidNumber,
    Email,
    Limited,
    Refunds,
    PartialRefunds,
    Inquiry,
    Void,
    Key,
    Socket,
}

impl Need {
    /// The verdict and its reason, where it is not there.
    pub(super) fn lacking(self, subject: &Subject, terms: &Terms) -> Option<(Verdict, String)> {
        let account = |number: &Option<Msisdn>, key: &str| {
            number.is_none().then(|| (Verdict::NotChecked, format!("needs accounts.{key} in the file of accounts")))
        };
        let offered = |there: bool, key: &str| (!there).then(|| (Verdict::NotOffered, key.to_owned()));
        match self {
            Self::Ceased => account(&terms.ceased, "ceased"),
            Self::SuspendedNonPayment => account(&terms.suspended_non_payment, "suspended_non_payment"),
            Self::SuspendedLostStolen => account(&terms.suspended_lost_stolen, "suspended_lost_stolen"),
            Self::NotEligible => account(&terms.not_eligible, "not_eligible"),
            Self::PrepaidNumber => {
                offered(terms.prepaid, "prepaid = false").or_else(|| account(&terms.prepaid_number, "prepaid"))
            }
            Self::Email => offered(terms.takes_email, "takes_email = false").or_else(|| {
                let number = terms.with_email.as_ref().map(|account| account.number.clone());
                account(&number, "with_email")
            }),
            Self::Limited => account(&terms.limited.as_ref().map(|limited| limited.number.clone()), "limited"),
            Self::Refunds => offered(terms.refunds != RefundsWord::None, "refunds = \"none\""),
            Self::PartialRefunds => {
                let word = if terms.refunds == RefundsWord::None { "none" } else { "whole" };
                offered(terms.refunds == RefundsWord::Partial, &format!("refunds = \"{word}\""))
            }
            Self::Inquiry => offered(terms.recovery == RecoveryWord::Inquiry, "recovery is not \"inquiry\""),
            Self::Void => offered(terms.void, "void = false"),
            Self::Key => subject
                .stranger
                .is_none()
                .then(|| (Verdict::NotChecked, "needs --api-key or --api-key-file".to_owned())),
            Self::Socket => {
                subject.authority.is_none().then(|| (Verdict::NotChecked, "needs a socket to connect to".to_owned()))
            }
        }
    }
}

macro_rules! case {
    ($id:literal, $group:literal, $title:literal, $given:literal, $why:literal, [$($need:ident),*], $run:path) => {
        Case {
            id: $id,
            group: $group,
            title: $title,
            given: $given,
            why: $why,
            needs: &[$(Need::$need),*],
            run: |bench| Box::pin($run(bench)),
        }
    };
}

/// All cases.
pub static CASES: &[Case] = &[
    case!(
        1,
        "Accounts",
        "An active account is found",
        "The number of an active account that may buy.",
        "Every purchase begins with it.",
        [],
        accounts::active
    ),
    case!(
        2,
        "Accounts",
        "A ceased account is told as such",
        "The number of an account that was given up.",
        "Nobody is to be charged for another's old number.",
        [Ceased],
        accounts::ceased
    ),
    case!(
        3,
        "Accounts",
        "An account that is barred for non-payment",
        "The number of an account that is barred.",
        "The partner is told why its customer cannot buy.",
        [SuspendedNonPayment],
        accounts::suspended_non_payment
    ),
    case!(
        4,
        "Accounts",
        "An account that is barred for loss or theft",
        "The number of a phone that was lost.",
        "Nobody is to buy with a stolen phone.",
        [SuspendedLostStolen],
        accounts::suspended_lost_stolen
    ),
    case!(
        5,
        "Accounts",
        "An account that may not buy",
        "The number of an account that the CSP's own rules bar.",
        "The CSP's rules are its own; the gateway asks for their verdict.",
        [NotEligible],
        accounts::not_eligible
    ),
    case!(
        6,
        "Accounts",
        "A prepaid account is told as such",
        "The number of an account that pays beforehand.",
        "Partners are told how a customer pays.",
        [PrepaidNumber],
        accounts::prepaid
    ),
    case!(
        7,
        "Accounts",
        "An unknown number is nobody",
        "A number of the right form that is nobody's.",
        "\"Nobody\" is an answer; an error is not.",
        [],
        accounts::unknown
    ),
    case!(
        8,
        "Accounts",
        "An account is found by the name that the CSP gave it",
        "The name that case 1 was answered.",
        "The gateway keeps the name, not the number, since numbers are given to others.",
        [],
        accounts::by_name
    ),
    case!(
        9,
        "Accounts",
        "E-mail address and number lead to one account",
        "An account with an e-mail address.",
        "Partners may know a customer by either.",
        [Email],
        accounts::by_email
    ),
    case!(
        10,
        "Charges",
        "A charge is booked as it was sent",
        "An account that may buy, and the agreed amount.",
        "What is booked must be what was sold: reference, amount and currency come back.",
        [],
        charges::booked
    ),
    case!(
        11,
        "Charges",
        "The smallest amount, and a text of any letters",
        "One minor unit, and 128 letters, not all plain.",
        "No amount is rounded and no text breaks a bill.",
        [],
        charges::smallest
    ),
    case!(
        12,
        "Charges",
        "A repeat under one reference is answered alike",
        "The same charge, three times more.",
        "An answer that was lost is asked for by sending the same again.",
        [],
        charges::repeated
    ),
    case!(
        13,
        "Charges",
        "Repeats at one time are answered alike",
        "The same charge, eight times at once.",
        "Two gateways may meet over one charge.",
        [],
        charges::at_once
    ),
    case!(
        14,
        "Charges",
        "Another charge under a used reference is refused",
        "A used reference with another amount.",
        "A reference stands for one request, for ever.",
        [],
        charges::reused
    ),
    case!(
        15,
        "Charges",
        "What was repeated is booked once",
        "An account that may spend exactly so much.",
        "This is the promise that everything else rests on.",
        [Limited],
        charges::once
    ),
    case!(
        16,
        "Charges",
        "Another currency is refused",
        "A charge in a currency that is not the CSP's.",
        "A wrong currency must not become a wrong amount.",
        [],
        charges::other_currency
    ),
    case!(
        17,
        "Charges",
        "A charge to nobody is refused",
        "An account name that the CSP has never given.",
        "It must end as a refusal, so that it ends.",
        [],
        charges::of_nobody
    ),
    case!(
        18,
        "Refunds",
        "A whole charge is given back",
        "A charge, and a refund of all of it.",
        "Partners give money back through the gateway.",
        [Refunds],
        refunds::whole
    ),
    case!(
        19,
        "Refunds",
        "A charge is given back in parts",
        "A charge, and two refunds of parts of it.",
        "A month that was half used is half paid.",
        [PartialRefunds],
        refunds::partial
    ),
    case!(
        20,
        "Refunds",
        "No more is given back than was charged",
        "Refunds above the charge, at once and in sum.",
        "The gateway holds the same bound; two locks are better than one.",
        [Refunds],
        refunds::above
    ),
    case!(
        21,
        "Refunds",
        "A repeated refund is booked once",
        "A partial refund, sent three times, and one of the rest.",
        "A refund whose answer was lost is sent again too.",
        [PartialRefunds],
        refunds::repeated
    ),
    case!(
        22,
        "Refunds",
        "A refund of no charge is refused",
        "A refund of a reference that was never charged.",
        "It must end as a refusal, so that it ends.",
        [Refunds],
        refunds::of_nothing
    ),
    case!(
        23,
        "Refunds",
        "A refund needs a reference of its own",
        "A refund under the reference of its charge.",
        "Charge and refund must be told apart when they are asked for.",
        [Refunds],
        refunds::own_reference
    ),
    case!(
        24,
        "Outcomes",
        "An inquiry tells what is booked",
        "A charge, and a refund where there are refunds.",
        "This is how a lost answer is made good.",
        [Inquiry],
        outcomes::known
    ),
    case!(
        25,
        "Outcomes",
        "An inquiry for a fresh reference is not known",
        "A reference that was never sent.",
        "\"Not known\" is an answer; an error is not.",
        [Inquiry],
        outcomes::not_known
    ),
    case!(
        26,
        "Outcomes",
        "A refusal is final",
        "A refund that was refused, asked for and sent again.",
        "What was told as refused must never be booked later.",
        [Refunds],
        outcomes::refused
    ),
    case!(
        27,
        "Outcomes",
        "A void reference is never booked",
        "A fresh reference that is made void, and then charged.",
        "It lets the gateway say that a charge failed, although it may still be on its way.",
        [Void],
        outcomes::void
    ),
    case!(
        28,
        "Outcomes",
        "A booked reference cannot be made void",
        "A charge that is booked, and made void.",
        "The gateway must be told that it was too late.",
        [Void],
        outcomes::too_late
    ),
    case!(
        29,
        "Connections",
        "Who hangs up is not charged twice",
        "Charges whose caller hangs up, asked for and sent again.",
        "Time-outs and dead gateways look like this.",
        [],
        connections::hang_up
    ),
    case!(
        30,
        "Connections",
        "Broken and idle connections harm nobody",
        "Connections that end in the middle, and idle ones.",
        "Networks do this every day.",
        [Socket],
        connections::broken
    ),
    case!(
        31,
        "Connections",
        "Answers come in time",
        "Twenty look-ups, one after the other.",
        "What is later than call_timeout_ms is as good as lost.",
        [],
        connections::in_time
    ),
    case!(
        32,
        "Connections",
        "Many charges at a time",
        "Sixteen charges at once, each under its own reference.",
        "Customers do not queue.",
        [],
        connections::many
    ),
    case!(
        33,
        "Connections",
        "A wrong key opens nothing",
        "Calls with a key that is not the gateway's.",
        "Whoever can reach the CSP could charge its customers.",
        [Key],
        connections::wrong_key
    ),
    case!(
        34,
        "Messages",
        "A text message is taken",
        "The number of an active account.",
        "PINs travel this way.",
        [],
        outcomes::notified
    ),
    case!(
        35,
        "Messages",
        "A message to nobody is refused",
        "A number that is nobody's.",
        "A PIN that cannot arrive must not look sent.",
        [],
        outcomes::nobody_notified
    ),
    case!(
        36,
        "Outcomes",
        "What was booked first is still known last",
        "The charge of case 10, asked for and sent again.",
        "A reference is decided for ever.",
        [],
        outcomes::remembered
    ),
];
