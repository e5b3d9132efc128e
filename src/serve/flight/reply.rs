//! What goes with an answer, beside what it says: headers, or trailers where the call fails.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Response, Status};

/// Something that went otherwise than the client may think, though the call succeeded.
const WARNING: &str = "x-btrdb-warning";

/// How many rows of a statement were applied before it failed, and stay.
const APPLIED_ROWS: &str = "x-btrdb-applied-rows";

const SET_COOKIE: &str = "set-cookie";

/// The headers of an answer, gathered while it is made. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply(Arc<Mutex<MetadataMap>>);

impl Reply {
    /// Tells the client what it should know.
    pub(super) fn warn(&self, warning: &str) {
        // Headers are ASCII; what else stands in a name is of no use to a program.
        let ascii: String = warning
            .chars()
            .map(|char| {
                if (' '..='~').contains(&char) {
                    char
                } else {
                    '?'
                }
            })
            .collect();
        if let Ok(value) = ascii.parse() {
            self.insert(WARNING, value);
        }
    }

    pub(super) fn applied_rows(&self, rows: u64) {
        self.insert(APPLIED_ROWS, rows.into());
    }

    pub(super) fn set_cookie(&self, cookie: &str) {
        if let Ok(value) = cookie.parse() {
            self.insert(SET_COOKIE, value);
        }
    }

    fn insert(&self, name: &'static str, value: MetadataValue<Ascii>) {
        self.0.lock().insert(name, value);
    }

    /// `outcome` with the headers.
    pub(super) fn with<T>(
        &self,
        outcome: std::result::Result<Response<T>, Status>,
    ) -> std::result::Result<Response<T>, Status> {
        let headers = std::mem::take(&mut *self.0.lock());
        match outcome {
            Ok(mut response) => {
                extend(response.metadata_mut(), headers);
                Ok(response)
            }
            Err(mut status) => {
                extend(status.metadata_mut(), headers);
                Err(status)
            }
        }
    }
}

fn extend(to: &mut MetadataMap, headers: MetadataMap) {
    let mut all = std::mem::take(to).into_headers();
    all.extend(headers.into_headers());
    *to = MetadataMap::from_headers(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_carry_what_was_told() {
        let reply = Reply::default();
        reply.warn("größe\n");
        let told = reply
            .clone()
            .with(Ok(Response::new(())))
            .expect("an answer");
        let value = told.metadata().get(WARNING).expect("a header");
        assert_eq!(value, "gr??e?");
        reply.applied_rows(7);
        let mut status = Status::aborted("why");
        status
            .metadata_mut()
            .insert("other", "stays".parse().expect("ascii"));
        let status = reply.with::<()>(Err(status)).expect_err("a failure");
        assert_eq!(status.metadata().get(APPLIED_ROWS).expect("a trailer"), "7");
        assert_eq!(status.metadata().get("other").expect("kept"), "stays");
        assert!(status.metadata().get(WARNING).is_none(), "told once");
    }
}
