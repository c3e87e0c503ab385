//! Turns at what keeps a processor busy: one at a time, and no account waits behind more than one turn of each other.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::{Mutex as Queue, MutexGuard, OwnedMutexGuard};

use super::{KmsError, KmsErrorType};
use crate::names::Tenant;

/// Turns that an account may wait for at once.
const MAX_WAITING: usize = 32;

/// Who waits. Both queues are first come, first served.
pub(super) struct Turns {
    /// An account stands in the common queue once, whatever it asks for.
    common: Queue<()>,
    accounts: LazyLock<Mutex<HashMap<Tenant, Arc<Queue<()>>>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    _common: MutexGuard<'a, ()>,
    _account: Place<'a>,
}

/// A place in an account's own queue.
struct Place<'a> {
    turns: &'a Turns,
    account: Tenant,
    queue: Arc<Queue<()>>,
    /// Held while the account's turn is taken or awaited.
    first: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self {
            common: Queue::const_new(()),
            accounts: LazyLock::new(Mutex::default),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `ThrottlingException`: the account waits for [`MAX_WAITING`] already.
    pub(super) async fn take(&self, account: &Tenant) -> Result<Turn<'_>, KmsError> {
        let mut place = self.stand(account)?;
        place.first = Some(place.queue.clone().lock_owned().await);
        Ok(Turn {
            _common: self.common.lock().await,
            _account: place,
        })
    }

    fn stand(&self, account: &Tenant) -> Result<Place<'_>, KmsError> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = accounts.entry(account.clone()).or_default().clone();
        // The table's own and this one, and two for each that waits: its place's and the one it waits with.
        let waiting = Arc::strong_count(&queue).saturating_sub(2) / 2;
        if waiting >= MAX_WAITING {
            return Err(KmsErrorType::Throttling.because("Rate exceeded"));
        }
        Ok(Place {
            turns: self,
            account: account.clone(),
            queue,
            first: None,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.first = None;
        let mut accounts = self.turns.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's own and this one: nobody of the account waits.
        if Arc::strong_count(&self.queue) <= 2 {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn account(digit: u32) -> Tenant {
        Tenant::parse(&format!("{digit:012}")).unwrap()
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn an_account_waits_behind_one_turn_of_each_other() {
        let turns = Turns::new();
        let (one, two) = (account(1), account(2));
        let first = turns.take(&one).await.unwrap();
        let mut flood: Vec<_> = (0..5).map(|_| Box::pin(turns.take(&one))).collect();
        assert!(flood.iter_mut().all(|waiting| poll(waiting).is_pending()));
        let mut other = Box::pin(turns.take(&two));
        assert!(poll(&mut other).is_pending());
        drop(first);
        // The flood's next stands in the common queue only now, behind the other account.
        assert!(flood.iter_mut().all(|waiting| poll(waiting).is_pending()));
        let Poll::Ready(turn) = poll(&mut other) else {
            panic!("the other account still waits")
        };
        drop(turn);
        assert!(poll(&mut flood[0]).is_ready());
    }

    // R37
    #[tokio::test]
    async fn what_waits_is_bounded_and_forgotten_when_done() {
        let turns = Turns::new();
        let (one, two) = (account(1), account(2));
        let held = turns.take(&two).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING + 10).map(|_| Box::pin(turns.take(&one))).collect();
        let refused = waiting.iter_mut().filter_map(|waiting| match poll(waiting) {
            Poll::Ready(answer) => answer.err(),
            Poll::Pending => None,
        });
        let refused: Vec<_> = refused.map(|error| error.kind).collect();
        assert_eq!(refused, [KmsErrorType::Throttling; 10]);
        drop(waiting);
        drop(held);
        assert!(turns.accounts.lock().unwrap().is_empty());
        let mut again = pin!(turns.take(&one));
        assert!(again.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
