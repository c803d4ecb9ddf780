//! The contract of the ledger, written once and run for every store.
//!
//! Invariant: a claim here holds for the port, whatever stands behind it; what only one store promises is in a module
//! of its own. A new store inherits the whole suite with one line of `ledger_contract!`.

/// Runs every claim for a store.
macro_rules! ledger_contract {
    ($store:ident, $open:expr) => {
        ledger_contract!($store, $open, records: [
            a_key_is_taken_once,
            of_many_commits_of_one_key_exactly_one_is_done,
            a_change_needs_the_version_that_it_was_decided_on,
            final_states_never_change,
            a_record_moves_only_forward,
            a_released_record_is_taken_up_again_under_its_reference,
            a_final_record_takes_a_note_and_nothing_else,
            what_a_request_fixed_is_not_changed_by_its_outcome,
            every_field_survives,
            every_text_survives,
            times_are_kept_in_whole_microseconds,
            several_are_recalled_at_once,
            of_many_that_ask_together_each_hears_of_its_own_and_nothing_older,
            a_ledger_that_works_says_so,
        ], forgetting: [
            every_record_is_walked_over_once_in_the_order_of_its_beginning,
            a_record_that_is_over_forgets_its_address_and_nothing_else,
            what_was_forgotten_stays_so_whatever_comes,
            an_open_record_forgets_nothing,
        ], money: [
            money_is_posted_with_its_outcome_and_sums_to_zero,
            each_final_outcome_makes_one_event,
            a_hundred_concurrent_refunds_never_exceed_their_charge,
            a_refund_that_is_not_booked_gives_its_share_back,
            a_refund_needs_a_charge_that_is_success,
            a_unit_that_does_not_fit_leaves_nothing_behind,
            a_unit_that_would_break_the_books_is_refused_whole,
            a_change_of_the_charge_itself_keeps_what_its_refunds_hold,
        ], limits: [
            what_is_open_or_booked_counts_and_what_failed_gives_back,
            of_two_charges_that_fit_alone_and_not_together_one_is_done,
            a_hundred_concurrent_charges_never_exceed_a_ceiling,
            a_charge_without_room_on_one_counter_takes_nothing_from_another,
            accounts_have_counters_of_their_own_whatever_they_are_called,
            a_charge_over_a_limit_is_a_failure_without_an_intent,
            a_released_charge_holds_anew_on_the_day_on_which_it_is_taken_up,
            a_released_charge_may_end_over_a_limit,
            a_refund_gives_back_to_the_day_of_its_charge_once_it_is_success,
            many_refunds_and_charges_at_once_leave_the_exact_sum,
            counters_that_do_not_follow_from_the_change_are_refused_whole,
        ], lists: [
            a_list_is_newest_first,
            pages_have_neither_gaps_nor_repeats,
            pages_of_an_account_go_on_from_day_to_day,
            a_list_is_filtered_by_all_that_is_asked,
            since_is_inclusive_and_until_is_exclusive,
            released_records_are_not_listed,
            partners_do_not_see_one_another,
            what_is_due_comes_oldest_first_and_no_more_than_asked,
            a_record_that_nobody_need_look_at_is_not_due,
        ], outbox: [
            an_event_is_due_with_its_outcome_and_tells_of_its_transaction,
            a_claim_keeps_others_away_until_it_runs_out,
            of_many_claims_each_event_is_in_exactly_one,
            what_failed_is_due_again_at_its_time_and_longest_due_comes_first,
            a_refund_is_not_told_before_its_charge,
            partners_have_outboxes_of_their_own,
            dead_letters_are_listed_and_sent_again,
            what_nobody_waits_for_is_never_claimed,
        ]);
    };
    ($store:ident, $open:expr, $($topic:ident: [$($claim:ident,)*]),*) => {
        mod $store {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    crate::ports::ledger::$topic::$claim($open).await;
                }
            )*)*
        }
    };
}

mod forgetting;
mod limits;
mod lists;
mod money;
mod outbox;
mod records;
mod released;
mod samples;
mod sqlite;
mod postgres;
mod postgres_hosts;
mod postgres_plans;
mod postgres_released;

use std::sync::Arc;

use onbill::adapters::ledger::memory::MemoryLedger;
use onbill::domain::transaction::{Kind, Transaction, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger};
use onbill::ports::outbox::Outbox;

/// What was written beside the records, as whoever keeps the books would read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Books {
    /// The id of a transaction and the minor units of one of its postings.
    postings: Vec<(String, i64)>,
    /// The id of a transaction and the id of its event.
    events: Vec<(String, String)>,
    /// Every counter of a spend limit that is not at 0, and the minor units on it.
    counters: Vec<(String, i64)>,
}

/// A store to be proved.
struct Subject {
    ledger: Arc<dyn Ledger>,
    outbox: Arc<dyn Outbox>,
    books: Box<dyn Fn() -> Books + Send + Sync>,
}

impl Subject {
    /// Commits a unit that must be taken, and answers the record as it is then.
    async fn done(&self, unit: UnitOfWork) -> Transaction {
        let key = unit.transaction.key.clone();
        let committed = self.ledger.commit(unit).await.expect("the ledger answers");
        let record = self.ledger.recall(&key).await.expect("the ledger answers").expect("what was committed is there");
        assert_eq!(committed, Commit::Done { version: record.version });
        record
    }

    /// Commits a unit that must not be taken.
    async fn conflict(&self, unit: UnitOfWork) {
        assert_eq!(self.ledger.commit(unit).await.expect("the ledger answers"), Commit::Conflict);
    }

    async fn recall(&self, kind: Kind, id: &str) -> Option<Transaction> {
        self.ledger.recall(&samples::key(kind, id)).await.expect("the ledger answers")
    }

    /// A charge that is booked.
    async fn success(&self, id: &str, amount: &str) -> Transaction {
        let pending = self.done(samples::charge(id, amount)).await;
        self.done(samples::booked(&pending)).await
    }
}

fn memory() -> Subject {
    let ledger = Arc::new(MemoryLedger::new());
    let reader = Arc::clone(&ledger);
    let books = move || Books {
        postings: reader
            .postings()
            .iter()
            .map(|(key, posting)| (key.ext_transaction_id.as_str().to_owned(), posting.money.minor))
            .collect(),
        events: reader
            .events()
            .iter()
            .map(|event| (event.key.ext_transaction_id.as_str().to_owned(), event.id.as_str().to_owned()))
            .collect(),
        counters: reader
            .counters()
            .iter()
            .filter(|(_, minor)| **minor != 0)
            .map(|(counter, minor)| (counter.as_str().to_owned(), *minor))
            .collect(),
    };
    Subject { outbox: Arc::<MemoryLedger>::clone(&ledger), ledger, books: Box::new(books) }
}

ledger_contract!(in_memory, super::memory());
