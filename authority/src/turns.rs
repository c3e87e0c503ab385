//! Turns at what only so many can use at once, such as a processor or an HSM: no account waits behind more than its share of
//! turns of each other.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::names::Tenant;

/// Turns that an account may wait for at once, beside those that it has.
pub(crate) const MAX_WAITING: usize = 32;

/// Who a turn is for; none: the service itself.
pub(crate) type Account = Option<Tenant>;

/// Who waits. Both queues are first come, first served.
pub(crate) struct Turns<A: Clone + Eq + Hash = Account> {
    /// An account has or awaits so many of the turns in the common queue, whatever it asks for.
    share: usize,
    common: Semaphore,
    accounts: LazyLock<Mutex<HashMap<A, Arc<Semaphore>>>>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn<'a, A: Clone + Eq + Hash = Account> {
    _common: SemaphorePermit<'a>,
    _account: Place<'a, A>,
}

/// The account waits for so many turns already that another would only come too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

/// A place in an account's own queue.
struct Place<'a, A: Clone + Eq + Hash> {
    turns: &'a Turns<A>,
    account: A,
    queue: Arc<Semaphore>,
    /// Held while one of the account's turns is taken or awaited.
    first: Option<OwnedSemaphorePermit>,
}

impl<A: Clone + Eq + Hash> Turns<A> {
    /// So many turns at once, all of them one account's where no other wants any.
    pub(crate) const fn new(at_once: usize) -> Self {
        Self::shared(at_once, at_once)
    }

    /// So many turns at once, of which an account never has more than its share.
    pub(crate) const fn shared(at_once: usize, share: usize) -> Self {
        Self {
            share,
            common: Semaphore::const_new(at_once),
            accounts: LazyLock::new(Mutex::default),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Crowded`]: the account waits for [`MAX_WAITING`] already.
    pub(crate) async fn take(&self, account: A) -> Result<Turn<'_, A>, Crowded> {
        let mut place = self.stand(account)?;
        // Neither is ever closed.
        place.first = Some(place.queue.clone().acquire_owned().await.map_err(|_| Crowded)?);
        Ok(Turn {
            _common: self.common.acquire().await.map_err(|_| Crowded)?,
            _account: place,
        })
    }

    /// Whether an account has a turn or waits for one.
    #[cfg(test)]
    pub(crate) fn knows(&self, account: &A) -> bool {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.contains_key(account)
    }

    fn stand(&self, account: A) -> Result<Place<'_, A>, Crowded> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.share));
        let queue = accounts.entry(account.clone()).or_insert_with(new).clone();
        // The table's own and this one, and two for each that has a turn or waits: its place's and the one it waits with.
        let there = Arc::strong_count(&queue).saturating_sub(2) / 2;
        if there >= self.share.saturating_add(MAX_WAITING) {
            return Err(Crowded);
        }
        Ok(Place {
            turns: self,
            account,
            queue,
            first: None,
        })
    }
}

impl<A: Clone + Eq + Hash> Drop for Place<'_, A> {
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

    fn account(digit: u32) -> Account {
        Some(Tenant::parse(&format!("{digit:012}")).unwrap())
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn an_account_waits_behind_one_turn_of_each_other() {
        let turns = Turns::new(1);
        let (one, two) = (account(1), account(2));
        let first = turns.take(one.clone()).await.unwrap();
        let mut flood: Vec<_> = (0..5).map(|_| Box::pin(turns.take(one.clone()))).collect();
        assert!(flood.iter_mut().all(|waiting| poll(waiting).is_pending()));
        let mut other = Box::pin(turns.take(two.clone()));
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
        let turns = Turns::new(1);
        let (one, two) = (account(1), account(2));
        let held = turns.take(two.clone()).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING + 10)
            .map(|_| Box::pin(turns.take(one.clone())))
            .collect();
        let refused = waiting.iter_mut().filter_map(|waiting| match poll(waiting) {
            Poll::Ready(answer) => answer.err(),
            Poll::Pending => None,
        });
        // One stands for the turn that is taken, and the rest wait.
        assert_eq!(refused.count(), 9);
        drop(waiting);
        drop(held);
        assert!(turns.accounts.lock().unwrap().is_empty());
        let mut again = pin!(turns.take(one.clone()));
        assert!(again.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[tokio::test]
    async fn several_turns_are_taken_at_once_and_a_flood_leaves_the_next_one_to_others() {
        let turns = Turns::new(3);
        let (one, two) = (account(1), None);
        let mut flood: Vec<_> = (0..9).map(|_| Box::pin(turns.take(one.clone()))).collect();
        let mut held: Vec<_> = flood.iter_mut().map(poll).filter(Poll::is_ready).collect();
        assert_eq!(held.len(), 3);
        let mut other = Box::pin(turns.take(two));
        assert!(poll(&mut other).is_pending());
        drop(held.pop());
        assert!(flood.iter_mut().skip(3).all(|waiting| poll(waiting).is_pending()));
        assert!(poll(&mut other).is_ready(), "the first that is free is the other's");
    }

    // R37
    #[tokio::test]
    async fn where_there_are_shares_nobody_has_all_turns_however_few_want_one() {
        let turns = Turns::shared(4, 3);
        let mut flood: Vec<_> = (0..9).map(|_| Box::pin(turns.take("one"))).collect();
        let mut held: Vec<_> = flood.iter_mut().map(poll).filter(Poll::is_ready).collect();
        assert_eq!(held.len(), 3);
        assert!(poll(&mut Box::pin(turns.take("other"))).is_ready(), "one is left");
        held.clear();
        let more: Vec<_> = flood.iter_mut().skip(3).map(poll).filter(Poll::is_ready).collect();
        assert_eq!(more.len(), 3, "a share is used again");
    }
}
