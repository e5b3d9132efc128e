//! Items from whoever makes them to whoever sends them, in bursts.
//!
//! ```text
//! maker --> [ as much as FULL_BYTES ] --> taker
//! ```
//!
//! Where both are about as fast, a place for one item makes them wake each other for every one, and on a busy machine the waking
//! takes longer than the work. Here the maker goes on until the belt is full, and rests until little is left on it. One maker, one
//! taker.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::Mutex;
use tokio::task::coop::consume_budget;

/// What lies on a belt before its maker rests; one item more may.
const FULL_BYTES: usize = 2 << 20;

/// What is left when it goes on.
const LOW_BYTES: usize = 512 << 10;

/// What an item counts for at least: rows without bytes take their place too.
const ITEM_BYTES_MIN: usize = 64 << 10;

/// A belt for items that `bytes` tells the size of.
pub(super) fn belt<T>(bytes: fn(&T) -> usize) -> (Maker<T>, Taker<T>) {
    let belt = Arc::new(Mutex::new(Belt {
        items: VecDeque::new(),
        bytes: 0,
        is_resting: false,
        maker: Some(None),
        taker: Some(None),
    }));
    let maker = Maker {
        belt: Arc::clone(&belt),
        bytes,
    };
    (maker, Taker { belt })
}

#[derive(Debug)]
struct Belt<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    is_resting: bool,
    /// None when it is gone; its waker, if it waits.
    maker: Option<Option<Waker>>,
    taker: Option<Option<Waker>>,
}

/// Wakes whoever waits, and leaves no waker behind.
fn wake(end: &mut Option<Option<Waker>>) {
    if let Some(waker) = end.as_mut().and_then(Option::take) {
        waker.wake();
    }
}

/// The end where items are put.
#[derive(Debug)]
pub(super) struct Maker<T> {
    belt: Arc<Mutex<Belt<T>>>,
    bytes: fn(&T) -> usize,
}

/// Nobody takes anything any more.
#[derive(Debug)]
pub(super) struct Gone;

impl<T> Maker<T> {
    /// Puts an item on the belt, once there is room.
    ///
    /// # Errors
    /// [`Gone`] if nobody will take it.
    pub(super) async fn put(&self, item: T) -> Result<(), Gone> {
        // Where there is always room, whoever shares the thread gets a turn all the same.
        consume_budget().await;
        poll_fn(|context| self.poll_room(context)).await?;
        let bytes = (self.bytes)(&item).max(ITEM_BYTES_MIN);
        let mut belt = self.belt.lock();
        belt.items.push_back((item, bytes));
        belt.bytes += bytes;
        wake(&mut belt.taker);
        Ok(())
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut belt = self.belt.lock();
        if belt.taker.is_none() {
            return Poll::Ready(Err(Gone));
        }
        let most = if belt.is_resting {
            LOW_BYTES
        } else {
            FULL_BYTES
        };
        belt.is_resting = belt.bytes >= most;
        if !belt.is_resting {
            return Poll::Ready(Ok(()));
        }
        belt.maker = Some(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Maker<T> {
    fn drop(&mut self) {
        let mut belt = self.belt.lock();
        belt.maker = None;
        wake(&mut belt.taker);
    }
}

/// The end where they are taken, in their order.
#[derive(Debug)]
pub(super) struct Taker<T> {
    belt: Arc<Mutex<Belt<T>>>,
}

impl<T> Stream for Taker<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut belt = self.belt.lock();
        if let Some((item, bytes)) = belt.items.pop_front() {
            belt.bytes -= bytes;
            if belt.is_resting && belt.bytes < LOW_BYTES {
                wake(&mut belt.maker);
            }
            return Poll::Ready(Some(item));
        }
        if belt.maker.is_none() {
            return Poll::Ready(None);
        }
        belt.taker = Some(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let items = {
            let mut belt = self.belt.lock();
            belt.taker = None;
            belt.bytes = 0;
            wake(&mut belt.maker);
            std::mem::take(&mut belt.items)
        };
        // Without the lock: dropping a batch may take long.
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    /// Items of which four fill a belt.
    fn large() -> (Maker<u32>, Taker<u32>) {
        belt(|_| FULL_BYTES / 4)
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_then_the_end() {
        let (maker, taker) = large();
        let making = async move {
            for number in 0..1_000 {
                maker.put(number).await.expect("taken");
            }
        };
        let ((), taken) = tokio::join!(making, taker.collect::<Vec<_>>());
        assert!(taken.into_iter().eq(0..1_000));
    }

    #[tokio::test]
    async fn a_full_belt_rests_until_little_is_left() {
        let (maker, mut taker) = large();
        for number in 0..4 {
            maker.put(number).await.expect("room");
        }
        let mut next = Box::pin(maker.put(4));
        assert!(next.as_mut().now_or_never().is_none(), "full");
        for number in 0..3 {
            assert_eq!(taker.next().await, Some(number));
            assert!(next.as_mut().now_or_never().is_none(), "it rests");
        }
        assert_eq!(taker.next().await, Some(3));
        next.as_mut().now_or_never().expect("room").expect("taken");
        drop(next);
        drop(maker);
        assert_eq!((taker.next().await, taker.next().await), (Some(4), None));
    }

    #[tokio::test]
    async fn items_without_bytes_fill_it_too() {
        let (maker, _taker) = belt::<u32>(|_| 0);
        let mut count = 0;
        while maker.put(count).now_or_never().is_some() {
            count += 1;
        }
        assert_eq!(count as usize, FULL_BYTES / ITEM_BYTES_MIN);
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_the_other_is_gone() {
        let (maker, taker) = large();
        for number in 0..4 {
            maker.put(number).await.expect("room");
        }
        let (put, ()) = tokio::join!(maker.put(4), async move { drop(taker) });
        assert!(put.is_err());
        let (maker, mut taker) = large();
        let (next, ()) = tokio::join!(taker.next(), async move { drop(maker) });
        assert_eq!(next, None);
    }
}
