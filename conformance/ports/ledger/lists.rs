//! Claims about lists and about what is due.

use onbill::domain::Time;
use onbill::domain::account::AccountKey;
use onbill::domain::ids::{AccountRef, CspId, PartnerId};
use onbill::domain::transaction::{Kind, Status};
use onbill::ports::ledger::{ListQuery, Listed};

use super::Subject;
use super::samples::{self, PARTNER, Sample, sample};

/// Everything of the usual partner.
fn all() -> ListQuery {
    ListQuery {
        partner: PartnerId::new(PARTNER),
        since: None,
        until: None,
        status: None,
        kind: None,
        account: None,
        after: None,
        rows_max: 100,
    }
}

async fn list(subject: &Subject, query: &ListQuery) -> Vec<Listed> {
    subject.ledger.list(query).await.expect("the ledger answers")
}

async fn ids(subject: &Subject, query: &ListQuery) -> Vec<String> {
    let id = |row: Listed| row.transaction.key.ext_transaction_id.as_str().to_owned();
    list(subject, query).await.into_iter().map(id).collect()
}

async fn begin_at(subject: &Subject, id: &str, accepted_at: Time) {
    subject.done(Sample { accepted_at, ..sample(id, "10") }.charge()).await;
}

pub async fn a_list_is_newest_first(subject: Subject) {
    for (id, second) in [("b", 2), ("a", 1), ("d", 4), ("c", 3)] {
        begin_at(&subject, id, samples::after_s(second)).await;
    }
    assert_eq!(ids(&subject, &all()).await, ["d", "c", "b", "a"]);
    let rows = list(&subject, &all()).await;
    let recalled = subject.recall(Kind::Charge, "d").await;
    assert_eq!(rows.first().map(|row| row.transaction.clone()), recalled);
    assert_eq!(ids(&subject, &ListQuery { rows_max: 0, ..all() }).await, Vec::<String>::new());
}

pub async fn pages_have_neither_gaps_nor_repeats(subject: Subject) {
    // Five share each microsecond, so that pages end in the middle of one.
    for number in 0..23 {
        begin_at(&subject, &format!("c{number:02}"), samples::after_us(number / 5)).await;
    }
    let whole = ids(&subject, &all()).await;
    assert_eq!(whole.len(), 23);
    for rows_max in [1, 2, 3, 7, 23] {
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let rows = list(&subject, &ListQuery { rows_max, after, ..all() }).await;
            let Some(last) = rows.last() else { break };
            after = Some(last.cursor);
            assert!(rows.len() <= usize::try_from(rows_max).expect("small"));
            paged.extend(rows.into_iter().map(|row| row.transaction.key.ext_transaction_id.as_str().to_owned()));
        }
        assert_eq!(paged, whole, "pages of {rows_max}");
    }
    // What is begun meanwhile is newer, and does not disturb the pages that follow.
    let first = list(&subject, &ListQuery { rows_max: 10, ..all() }).await;
    begin_at(&subject, "new", samples::after_s(1)).await;
    let after = first.last().map(|row| row.cursor);
    assert_eq!(ids(&subject, &ListQuery { after, ..all() }).await, whole[10..]);
}

pub async fn a_list_is_filtered_by_all_that_is_asked(subject: Subject) {
    let charge = subject.success("ok", "10").await;
    let failing = subject.done(samples::charge("no", "10")).await;
    subject.done(samples::refused(&failing)).await;
    let unclear = subject.done(samples::charge("unclear", "10")).await;
    subject.done(samples::unclear(&unclear)).await;
    subject.done(samples::charge("pending", "10")).await;
    subject.done(Sample { account: "sub-2", ..sample("elsewhere", "10") }.charge()).await;
    subject.done(samples::refund("back", &charge, "-4")).await;
    let account =
        |reference: &str| Some(AccountKey { csp: CspId::new("sandbox"), reference: AccountRef::new(reference) });
    let other_csp = Some(AccountKey { csp: CspId::new("other"), reference: AccountRef::new("sub-2") });
    let (since, until) = (Some(samples::after_s(0)), Some(samples::after_s(1)));
    for (query, expected) in [
        (ListQuery { status: Some(Status::Success), ..all() }, vec!["ok"]),
        (ListQuery { status: Some(Status::Failure), ..all() }, vec!["no"]),
        (ListQuery { status: Some(Status::Pending), ..all() }, vec!["back", "elsewhere", "pending", "unclear"]),
        (ListQuery { kind: Some(Kind::Refund), ..all() }, vec!["back"]),
        (ListQuery { kind: Some(Kind::Charge), ..all() }, vec!["elsewhere", "pending", "unclear", "no", "ok"]),
        (ListQuery { account: account("sub-2"), ..all() }, vec!["elsewhere"]),
        (ListQuery { account: other_csp, ..all() }, vec![]),
        (
            ListQuery {
                status: Some(Status::Pending),
                kind: Some(Kind::Charge),
                account: account("sub-1"),
                since,
                until,
                ..all()
            },
            vec!["pending", "unclear"],
        ),
        (ListQuery { status: Some(Status::Success), kind: Some(Kind::Refund), ..all() }, vec![]),
    ] {
        assert_eq!(ids(&subject, &query).await, expected, "{query:?}");
    }
}

/// A list of an account goes through days of which some have none of its records, and some none at all.
pub async fn pages_of_an_account_go_on_from_day_to_day(subject: Subject) {
    const DAY_S: i64 = 86_400;
    // The samples' beginning is no midnight: these lie on both sides of several, and after a gap of weeks.
    let times = [0, 1, DAY_S / 2, DAY_S, DAY_S + 1, 2 * DAY_S, 40 * DAY_S, 40 * DAY_S + 1, 41 * DAY_S];
    let mut expected = Vec::new();
    for (number, second) in times.into_iter().enumerate() {
        let (own, other) = (format!("c{number}"), format!("x{number}"));
        let accepted_at = samples::after_s(second);
        subject.done(Sample { accepted_at, ..sample(&own, "10") }.charge()).await;
        subject.done(Sample { accepted_at, account: "sub-2", ..sample(&other, "10") }.charge()).await;
        expected.insert(0, own);
    }
    let between = samples::after_s(20 * DAY_S);
    subject.done(Sample { accepted_at: between, account: "sub-2", ..sample("between", "10") }.charge()).await;
    let account = Some(AccountKey { csp: CspId::new("sandbox"), reference: AccountRef::new("sub-1") });
    let of_account = ListQuery { account, ..all() };
    assert_eq!(ids(&subject, &of_account).await, expected);
    for rows_max in [1, 2, 4] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let rows = list(&subject, &ListQuery { rows_max, after, ..of_account.clone() }).await;
            let Some(last) = rows.last() else { break };
            after = Some(last.cursor);
            paged.extend(rows.into_iter().map(|row| row.transaction.key.ext_transaction_id.as_str().to_owned()));
        }
        assert_eq!(paged, expected, "pages of {rows_max}");
    }
    let (since, until) = (Some(samples::after_s(1)), Some(samples::after_s(40 * DAY_S + 1)));
    assert_eq!(ids(&subject, &ListQuery { since, until, ..of_account }).await, expected[2..8]);
}

pub async fn since_is_inclusive_and_until_is_exclusive(subject: Subject) {
    for second in 1..=4 {
        begin_at(&subject, &second.to_string(), samples::after_s(second)).await;
    }
    let finer =
        |seconds: i64| samples::after_s(seconds).checked_add(jiff::SignedDuration::from_nanos(1)).expect("in range");
    for (since, until, expected) in [
        (Some(samples::after_s(2)), None, vec!["4", "3", "2"]),
        (None, Some(samples::after_s(3)), vec!["2", "1"]),
        (Some(samples::after_s(2)), Some(samples::after_s(4)), vec!["3", "2"]),
        (Some(samples::after_s(2)), Some(samples::after_s(2)), vec![]),
        (Some(finer(2)), Some(finer(3)), vec!["3"]),
        (Some(Time::MIN), Some(Time::MAX), vec!["4", "3", "2", "1"]),
    ] {
        let query = ListQuery { since, until, ..all() };
        assert_eq!(ids(&subject, &query).await, expected, "{since:?} {until:?}");
        let after = list(&subject, &query).await.first().map(|row| row.cursor);
        let rest = expected.get(1..).unwrap_or_default();
        if after.is_some() {
            assert_eq!(ids(&subject, &ListQuery { after, ..query }).await, rest, "{since:?} {until:?}");
        }
    }
}

pub async fn released_records_are_not_listed(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let released = subject.done(samples::not_applied(&pending)).await;
    assert_eq!(ids(&subject, &all()).await, Vec::<String>::new());
    assert_eq!(ids(&subject, &ListQuery { status: Some(Status::Pending), ..all() }).await, Vec::<String>::new());
    let again = Sample {
        expected: onbill::domain::transaction::Expected::Version(released.version),
        accepted_at: samples::after_s(5),
        ..sample("c1", "10")
    };
    subject.done(again.charge()).await;
    let rows = list(&subject, &all()).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].cursor.accepted_at_us, samples::after_s(5).as_microsecond());
}

pub async fn partners_do_not_see_one_another(subject: Subject) {
    subject.done(samples::charge("mine", "10")).await;
    let theirs = Sample { partner: "other-ott", ..sample("theirs", "10") };
    subject.done(theirs.charge()).await;
    assert_eq!(ids(&subject, &all()).await, ["mine"]);
    let other = ListQuery { partner: PartnerId::new("other-ott"), ..all() };
    assert_eq!(ids(&subject, &other).await, ["theirs"]);
    let same_account = AccountKey { csp: CspId::new("sandbox"), reference: AccountRef::new("sub-1") };
    assert_eq!(ids(&subject, &ListQuery { account: Some(same_account), ..all() }).await, ["mine"]);
    assert_eq!(subject.recall(Kind::Charge, "theirs").await, None);
}

async fn due(subject: &Subject, now: Time, rows_max: u32) -> Vec<String> {
    let due = subject.ledger.due(now, rows_max).await.expect("the ledger answers");
    due.into_iter().map(|record| record.key.ext_transaction_id.as_str().to_owned()).collect()
}

pub async fn what_is_due_comes_oldest_first_and_no_more_than_asked(subject: Subject) {
    // A lease lasts thirty seconds from acceptance.
    for (id, second) in [("c", 3), ("a", 1), ("b", 2), ("d", 4)] {
        begin_at(&subject, id, samples::after_s(second)).await;
    }
    assert_eq!(due(&subject, samples::after_s(30), 10).await, Vec::<String>::new());
    assert_eq!(due(&subject, samples::after_s(33), 10).await, ["a", "b", "c"]);
    assert_eq!(due(&subject, samples::after_s(33), 2).await, ["a", "b"]);
    assert_eq!(due(&subject, samples::after_s(33), 0).await, Vec::<String>::new());
}

pub async fn a_record_that_nobody_need_look_at_is_not_due(subject: Subject) {
    subject.success("booked", "10").await;
    let failing = subject.done(samples::charge("refused", "10")).await;
    subject.done(samples::refused(&failing)).await;
    let released = subject.done(samples::charge("released", "10")).await;
    subject.done(samples::not_applied(&released)).await;
    let unclear = subject.done(samples::charge("unclear", "10")).await;
    subject.done(samples::unclear(&unclear)).await;
    let leased = subject.done(samples::charge("leased", "10")).await;
    subject.done(samples::taken(&leased)).await;
    assert_eq!(due(&subject, samples::after_s(60), 10).await, ["unclear"]);
    assert_eq!(due(&subject, samples::after_s(90), 10).await, ["unclear", "leased"]);
}
