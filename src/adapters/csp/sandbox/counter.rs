//! The counter at which bookings queue up: what waits together is committed together.
//!
//! Invariant: an answer is given after its booking is committed, and never without. The first to queue up takes
//! everybody who came meanwhile along in one transaction; should it be dropped before, it does so while it is dropped, so
//! that nobody waits for one who has left. There is no thread: with one caller at a time each booking is a commit of its
//! own, in the order in which they came, which keeps simulations deterministic.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::bill::Bill;
use super::file::BillError;
use crate::ports::Cause;

/// Bookings that may wait. A caller beyond is sent away at once.
const QUEUE_MAX: usize = 1024;

/// Why a booking was not made.
#[derive(Debug, Clone)]
pub(super) enum CounterError {
    /// Too many wait: nothing was done.
    Busy,
    /// The file failed: most likely nothing was done.
    Failed(Cause),
}

/// The bill and the queue in front of it.
pub(super) struct Counter {
    /// Locked before the queue is emptied, so that those who come during a commit wait for the next.
    bill: Mutex<Bill>,
    queue: Mutex<Vec<Box<dyn Errand>>>,
}

impl Counter {
    /// Opens the counter of a bill.
    pub(super) fn new(bill: Bill) -> Self {
        Self { bill: Mutex::new(bill), queue: Mutex::default() }
    }

    /// Looks something up. It sees all that was answered.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Bill) -> Result<T, BillError>) -> Result<T, CounterError> {
        let bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        look(&bill).map_err(|error| CounterError::Failed(Cause::new(error)))
    }

    /// Changes something, and answers after it is committed.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, CounterError>
    where
        T: Send + 'static,
        W: FnOnce(&Bill) -> Result<T, BillError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let place = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= QUEUE_MAX {
                return Err(CounterError::Busy);
            }
            queue.push(Box::new(Work { todo: Some(work), done: None, answer }));
            queue.len()
        };
        if place == 1 {
            let turn = Turn(self);
            // Whoever else is ready to run gets to the queue meanwhile.
            tokio::task::yield_now().await;
            drop(turn);
        }
        answered.await.unwrap_or_else(|dropped| Err(CounterError::Failed(Cause::new(dropped))))
    }

    /// Commits all that has queued up, and answers it.
    fn serve(&self) {
        let bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        let mut errands = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = bill.in_one_transaction(|bill| errands.iter_mut().try_for_each(|errand| errand.run(bill)));
        drop(bill);
        let outcome = outcome.map_err(Cause::new);
        for errand in errands {
            errand.answer(outcome.clone());
        }
    }
}

/// The turn of the first in the queue, which serves everybody, even where it is cancelled.
struct Turn<'a>(&'a Counter);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

/// Something that waits to be done.
trait Errand: Send {
    /// Does it, within a transaction that is not committed yet.
    fn run(&mut self, bill: &Bill) -> Result<(), BillError>;

    /// Answers, once it is known what became of the transaction.
    fn answer(self: Box<Self>, outcome: Result<(), Cause>);
}

struct Work<T, W> {
    /// Taken when it is done.
    todo: Option<W>,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, CounterError>>,
}

impl<T: Send, W: FnOnce(&Bill) -> Result<T, BillError> + Send> Errand for Work<T, W> {
    fn run(&mut self, bill: &Bill) -> Result<(), BillError> {
        if let Some(work) = self.todo.take() {
            self.done = Some(work(bill)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Cause>) {
        let Self { done, answer, .. } = *self;
        let answered = match (outcome, done) {
            (Ok(()), Some(done)) => Ok(done),
            (Ok(()), None) => Err(CounterError::Failed(Cause::new("a booking was left out of its transaction"))),
            (Err(cause), _) => Err(CounterError::Failed(cause)),
        };
        // A caller that has hung up does not hear of it; the booking stands.
        let _ = answer.send(answered);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Poll;

    use jiff::tz::TimeZone;

    use super::super::bill::{Booking, Decision, Limit};
    use super::*;
    use crate::domain::Time;
    use crate::domain::ids::Reference;
    use crate::domain::money::Currency;

    /// Polls once, whatever comes of it.
    async fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
    }

    fn counter() -> Counter {
        Counter::new(Bill::open_in_memory(mxn()).expect("memory"))
    }

    fn mxn() -> Currency {
        Currency::from_code("MXN").expect("a currency")
    }

    fn charge(count: u128) -> impl FnOnce(&Bill) -> Result<Decision, BillError> {
        let booking = Booking {
            reference: Reference::from_bytes(count.to_be_bytes()),
            number: "5550100001".to_owned(),
            minor: 999,
            text: String::new(),
            at: Time::UNIX_EPOCH,
            time_zone: TimeZone::UTC,
        };
        move |bill| bill.charge(&booking, Limit::None)
    }

    fn lines(counter: &Counter) -> usize {
        counter.read(|bill| bill.lines("5550100001", mxn(), usize::MAX)).expect("a bill").0.len()
    }

    #[tokio::test]
    async fn those_who_wait_together_are_committed_together() {
        let counter = counter();
        let (first, second) = (counter.write(charge(1)), counter.write(charge(2)));
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(poll(&mut first).await.is_pending() && poll(&mut second).await.is_pending());
        assert_eq!(lines(&counter), 0, "nothing is booked before its turn");
        assert!(matches!(poll(&mut first).await, Poll::Ready(Ok(Decision::Booked(999)))));
        assert_eq!(lines(&counter), 2, "the first has taken the second along");
        assert!(matches!(poll(&mut second).await, Poll::Ready(Ok(Decision::Booked(999)))));
    }

    #[tokio::test]
    async fn a_first_that_is_dropped_leaves_nobody_waiting() {
        let counter = counter();
        let (mut first, mut second) = (Box::pin(counter.write(charge(1))), Box::pin(counter.write(charge(2))));
        assert!(poll(&mut first).await.is_pending() && poll(&mut second).await.is_pending());
        drop(first);
        assert!(matches!(poll(&mut second).await, Poll::Ready(Ok(Decision::Booked(999)))));
        assert_eq!(lines(&counter), 2, "what was sent is booked, whoever has hung up");
    }

    #[tokio::test]
    async fn a_failure_undoes_all_of_its_transaction_and_is_told_to_all() {
        let counter = counter();
        let failing = counter.write::<(), _>(|_| Err(BillError::Damaged("for the test")));
        let (mut sound, mut failing) = (Box::pin(counter.write(charge(1))), Box::pin(failing));
        assert!(poll(&mut sound).await.is_pending() && poll(&mut failing).await.is_pending());
        assert!(matches!(sound.await, Err(CounterError::Failed(_))));
        assert!(matches!(failing.await, Err(CounterError::Failed(_))));
        assert_eq!(lines(&counter), 0);
        assert!(counter.write(charge(1)).await.is_ok(), "the next transaction is not held up by it");
    }

    #[tokio::test]
    async fn a_full_queue_sends_callers_away_and_books_the_others() {
        let counter = counter();
        let mut waiting: Vec<_> = (0..).map(|count| Box::pin(counter.write(charge(count)))).take(QUEUE_MAX).collect();
        for caller in &mut waiting {
            assert!(poll(caller).await.is_pending());
        }
        assert!(matches!(counter.write(charge(u128::MAX)).await, Err(CounterError::Busy)));
        for caller in waiting {
            assert!(caller.await.is_ok());
        }
        assert_eq!(lines(&counter), QUEUE_MAX);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn callers_on_many_threads_are_all_answered() {
        let counter = Arc::new(counter());
        let callers: Vec<_> = (0..2000)
            .map(|count| {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    // Fewer references than callers: repeats race with what they repeat.
                    counter.write(charge(count % 700)).await
                })
            })
            .collect();
        let mut answered = 0;
        for caller in callers {
            match caller.await.expect("no panic") {
                Ok(Decision::Booked(999)) | Err(CounterError::Busy) => answered += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answered, 2000);
        assert!((1..=700).contains(&lines(&counter)));
    }
}
