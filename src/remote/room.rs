//! Room for what has arrived and nobody has taken yet, over all reads.
//!
//! Two things wait: what a server has sent of a call whose reader is busy, which HTTP/2 bounds by the window of the call, and results
//! that are read before their turn. Readers that stand still hold both for as long as they like, and each of them may hold
//! hundreds. So both take room from one budget; where there is none, a read goes on with less: a call gets a small window,
//! and the next results are read when it is their turn. Nothing waits for room, so nothing can wait for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit.
const UNIT: u64 = 1024;

/// What is read ahead has one part in so many, and calls have the rest: large calls of readers that stand still must not keep
/// others from reading many small streams at once.
const AHEAD_SHARE: u64 = 2;

/// The budget of a remote.
#[derive(Clone, Debug)]
pub(super) struct Room {
    calls: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
}

/// Some of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Taken(OwnedSemaphorePermit);

impl Room {
    /// So many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let semaphore = |bytes: u64| {
            let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
        };
        let ahead = bytes / AHEAD_SHARE;
        Self {
            calls: semaphore(bytes - ahead),
            ahead: semaphore(ahead),
        }
    }

    /// For the window of a call; none if there is too little left.
    pub(super) fn for_call(&self, bytes: u32) -> Option<Taken> {
        take(&self.calls, u64::from(bytes))
    }

    /// For results that are read ahead; none if there is too little left.
    pub(super) fn for_results(&self, bytes: usize) -> Option<Taken> {
        take(&self.ahead, bytes as u64)
    }
}

impl Taken {
    /// Gives all but so many bytes back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let units = units(bytes as u64) as usize;
        if let Some(surplus) = self.0.num_permits().checked_sub(units) {
            drop(self.0.split(surplus));
        }
    }
}

fn take(semaphore: &Arc<Semaphore>, bytes: u64) -> Option<Taken> {
    let permit = Arc::clone(semaphore).try_acquire_many_owned(units(bytes));
    permit.ok().map(Taken)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let room = Room::new(8 * UNIT);
        let mut some = room.for_results(3 * UNIT as usize).expect("room");
        assert!(room.for_results(2 * UNIT as usize).is_none(), "one left");
        some.shrink(2 * UNIT as usize - 5);
        let more = room.for_results(2 * UNIT as usize).expect("room");
        assert!(room.for_results(1).is_none(), "none left");
        assert!(room.for_call(4 * UNIT as u32).is_some(), "of its own");
        drop((some, more));
        assert!(room.for_results(4 * UNIT as usize).is_some());
    }

    #[test]
    fn no_room_is_no_error() {
        let room = Room::new(0);
        assert!(room.for_call(1).is_none() && room.for_results(1).is_none());
        assert!(Room::new(u64::MAX).for_call(u32::MAX).is_some());
    }
}
