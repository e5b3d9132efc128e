//! Values bound to prepared statements whose clients go on with the handle that they had.
//!
//! A bound handle carries its values, and the answer to binding is that handle: nothing else is needed, wherever the statement
//! runs. Clients older than that answer (flightsql-dbapi, drivers in Go and Java of before 2024) execute the handle that they
//! bound. For these the values are kept here, for the connection that bound them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// Statements are executed as soon as they are bound, so few wait at a time.
const COUNT_MAX: usize = 256;

/// Values of one statement, at most: clients that old bind a row.
const BYTES_MAX: usize = 64 * 1024;

/// The latest values, by connection and handle.
#[derive(Default)]
pub(super) struct Bindings {
    kept: Mutex<VecDeque<Binding>>,
    handles: AtomicU64,
}

struct Binding {
    connection: SocketAddr,
    handle: Bytes,
    parameters: Bytes,
}

impl Bindings {
    /// A number that no other handle of this process has. Without it a statement that two clients of one proxy prepare in the
    /// same second would have one handle, and one of them the other's values.
    pub(super) fn number(&self) -> u64 {
        self.handles.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn put(&self, connection: Option<SocketAddr>, handle: &Bytes, parameters: &Bytes) {
        let Some(connection) = connection.filter(|_| parameters.len() <= BYTES_MAX) else {
            return;
        };
        let mut kept = self.kept.lock();
        kept.retain(|binding| !binding.is(connection, handle));
        if kept.len() == COUNT_MAX {
            kept.pop_front();
        }
        kept.push_back(Binding {
            connection,
            handle: handle.clone(),
            parameters: parameters.clone(),
        });
    }

    /// The values that were bound to `handle` last, which stay: it may be executed again.
    pub(super) fn get(&self, connection: Option<SocketAddr>, handle: &Bytes) -> Option<Bytes> {
        let connection = connection?;
        let kept = self.kept.lock();
        let binding = kept.iter().find(|binding| binding.is(connection, handle))?;
        Some(binding.parameters.clone())
    }
}

impl Binding {
    fn is(&self, connection: SocketAddr, handle: &Bytes) -> bool {
        self.connection == connection && self.handle == handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_connection_that_bound_them_last() {
        let bindings = Bindings::default();
        let connection = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        bindings.put(connection(1), &bytes("a"), &bytes("x"));
        bindings.put(connection(1), &bytes("a"), &bytes("y"));
        bindings.put(None, &bytes("b"), &bytes("z"));
        assert_eq!(bindings.get(connection(1), &bytes("a")), Some(bytes("y")));
        assert_eq!(bindings.get(connection(2), &bytes("a")), None);
        assert_eq!(bindings.get(None, &bytes("b")), None);
        for number in 0..COUNT_MAX {
            let handle = Bytes::from(number.to_string());
            bindings.put(connection(2), &handle, &bytes("x"));
        }
        assert_eq!(
            bindings.get(connection(1), &bytes("a")),
            None,
            "the oldest goes"
        );
    }
}
