//! Tickets and statement handles: a statement with everything it takes to run it.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use uuid::Uuid;

use super::Shared;
use super::call::CallOptions;
use super::compression::Compression;
use super::seal::Purpose;
use crate::error::{Error, Result};
use crate::model::{MergePolicy, Snapshot, StreamId, TimeRange, Version};
use crate::query::SessionOptions;

const PIN_BYTES: usize = 16 + 8;

/// A statement as a prepared statement's handle carries it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Prepared {
    /// The text.
    #[prost(string, tag = "1")]
    pub(super) sql: String,
    /// Bound values: an IPC stream with a row for each execution; empty is none.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) parameters: Bytes,
    /// The transaction it belongs to; empty is none.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) transaction: Bytes,
}

/// A statement as a ticket carries it: what to run, and what it reads and how.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ticket {
    /// The text; empty if the statement changed something, which it did when the ticket was given out.
    #[prost(string, tag = "1")]
    pub(super) sql: String,
    /// Bound values, as in [`Prepared`].
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) parameters: Bytes,
    #[prost(bool, tag = "3")]
    pushdown: bool,
    #[prost(string, tag = "4")]
    merge: String,
    #[prost(uint64, optional, tag = "5")]
    commit: Option<u64>,
    /// 16 bytes of uuid and 8 of version (BE) for each pin.
    #[prost(bytes = "bytes", tag = "6")]
    pins: Bytes,
    #[prost(bool, tag = "7")]
    pins_reads: bool,
    /// The transaction whose pins these are, as far as it had any; empty is none.
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) transaction: Bytes,
    /// How bodies are compressed, unless the call that redeems it says otherwise; empty is nothing said.
    #[prost(string, tag = "16")]
    compression: String,
    /// Of an answer in several endpoints, the part that this one delivers; none is all of it.
    #[prost(message, optional, tag = "17")]
    span: Option<Span>,
    /// The schema of names that stand alone.
    #[prost(string, tag = "32")]
    schema: String,
    /// The limit of the statement; none is no limit.
    #[prost(uint64, optional, tag = "33")]
    timeout_millis: Option<u64>,
    /// By this the statement is known while it runs, so that it can be ended.
    #[prost(bytes = "bytes", tag = "34")]
    query: Bytes,
    /// The process that gave it out.
    #[prost(bytes = "bytes", tag = "35")]
    process: Bytes,
    /// How many rows the statement changed, if that is what there is to tell.
    #[prost(int64, optional, tag = "36")]
    pub(super) count: Option<i64>,
}

/// A half-open span of time, in nanoseconds since 1970 UTC.
#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sfixed64, tag = "1")]
    start: i64,
    #[prost(sfixed64, tag = "2")]
    end: i64,
}

impl Ticket {
    /// For `sql` with these bound values, read under `session`.
    pub(super) fn new(sql: String, parameters: Bytes, session: &SessionOptions) -> Self {
        let pinned = session.pins.list();
        let mut pins = BytesMut::with_capacity(pinned.len() * PIN_BYTES);
        for (stream, version) in pinned {
            pins.put_slice(stream.0.as_bytes());
            pins.put_u64(version.0);
        }
        Self {
            sql,
            parameters,
            pushdown: session.pushdown,
            merge: session.merge.as_str().to_owned(),
            commit: match session.snapshot {
                Snapshot::Latest => None,
                Snapshot::Commit(commit) => Some(commit),
            },
            pins: pins.freeze(),
            pins_reads: session.pins_reads,
            transaction: Bytes::new(),
            compression: String::new(),
            span: None,
            schema: session.schema.clone(),
            timeout_millis: session
                .timeout
                .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            query: Bytes::new(),
            process: Bytes::new(),
            count: None,
        }
    }

    /// For the part of the answer in `span`.
    pub(super) fn within(self, span: TimeRange) -> Self {
        let span = Span {
            start: span.start,
            end: span.end,
        };
        Self {
            span: Some(span),
            ..self
        }
    }

    /// The part of the answer that it is for; none is all of it.
    pub(super) fn span(&self) -> Option<TimeRange> {
        let span = self.span.as_ref()?;
        Some(TimeRange::new(span.start, span.end))
    }

    /// Delivered with bodies as `compression` says.
    pub(super) fn compressed(self, compression: Option<Compression>) -> Self {
        Self {
            compression: compression.map_or_else(String::new, |as_said| as_said.as_str().into()),
            ..self
        }
    }

    /// How bodies are compressed, if that was said.
    pub(super) fn compression(&self) -> Result<Option<Compression>> {
        match self.compression.as_str() {
            "" => Ok(None),
            name => Compression::parse(name).map(Some),
        }
    }

    /// Of a statement that was run, and changed so many rows; none for one that changes none.
    pub(super) fn told(count: Option<i64>) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    /// Known by `query`, and given out by `process`.
    pub(super) fn named(self, query: Uuid, process: Uuid) -> Self {
        Self {
            query: Bytes::copy_from_slice(query.as_bytes()),
            process: Bytes::copy_from_slice(process.as_bytes()),
            ..self
        }
    }

    /// By what the statement is known while it runs; none if it has run, or cannot be ended.
    pub(super) fn query(&self) -> Option<Uuid> {
        Uuid::from_slice(&self.query).ok()
    }

    /// Whether `process` gave it out.
    pub(super) fn is_of(&self, process: Uuid) -> bool {
        self.process == process.as_bytes()[..]
    }

    /// What the statement reads and how.
    pub(super) fn session(&self) -> Result<SessionOptions> {
        let mut pins = self.pins.clone();
        let mut pinned = Vec::with_capacity(pins.remaining() / PIN_BYTES);
        while pins.remaining() >= PIN_BYTES {
            let mut id = [0; 16];
            pins.copy_to_slice(&mut id);
            pinned.push((StreamId(Uuid::from_bytes(id)), Version(pins.get_u64())));
        }
        Ok(SessionOptions {
            pushdown: self.pushdown,
            merge: self.merge.parse::<MergePolicy>()?,
            snapshot: self.commit.map_or(Snapshot::Latest, Snapshot::Commit),
            pins: pinned.into_iter().collect(),
            pins_reads: self.pins_reads,
            schema: self.schema.clone(),
            timeout: self.timeout_millis.map(Duration::from_millis),
            // What writes has run before there is a ticket.
            read_only: true,
        })
    }
}

/// A prepared statement as its handle carries it.
#[derive(Clone, PartialEq, Message)]
struct Handle {
    #[prost(message, optional, tag = "1")]
    prepared: Option<Prepared>,
    /// Tells handles apart.
    #[prost(uint64, tag = "2")]
    number: u64,
}

impl Shared {
    /// The ticket sealed, and when it expires, in seconds since 1970.
    pub(super) fn seal_ticket(&self, ticket: &Ticket) -> (Bytes, i64) {
        self.seal_message(Purpose::Ticket, ticket, self.settings.ticket_lifetime)
    }

    /// # Errors
    /// Those of [`Seal::open`](super::seal::Seal::open).
    pub(super) fn open_ticket(&self, sealed: &Bytes) -> Result<Ticket> {
        self.open_message(Purpose::Ticket, sealed)
    }

    pub(super) fn seal_prepared(&self, prepared: &Prepared) -> Bytes {
        let lifetime = self.settings.statement_lifetime;
        let handle = Handle {
            prepared: Some(prepared.clone()),
            number: self.bindings.number(),
        };
        self.seal_message(Purpose::Prepared, &handle, lifetime).0
    }

    /// The statement of a handle, in the transaction that it belongs to now.
    ///
    /// Clients keep prepared statements when they commit, and the protocol cannot say which transaction one runs in next. It is
    /// the one that was begun on the same connection, or none.
    ///
    /// # Errors
    /// Those of [`Seal::open`](super::seal::Seal::open).
    pub(super) fn open_prepared(&self, sealed: &Bytes, call: &CallOptions) -> Result<Prepared> {
        let handle: Handle = self.open_message(Purpose::Prepared, sealed)?;
        let mut prepared = handle.prepared.unwrap_or_default();
        if prepared.parameters.is_empty()
            && let Some(parameters) = self.bindings.get(call.connection, sealed)
        {
            prepared.parameters = parameters;
        }
        if self.transactions.has_ended(&prepared.transaction) {
            prepared.transaction = self.transactions.of_connection(call.connection);
        }
        Ok(prepared)
    }

    pub(super) fn seal_message(
        &self,
        purpose: Purpose,
        message: &impl Message,
        lifetime: Duration,
    ) -> (Bytes, i64) {
        self.seal.seal(purpose, &message.encode_to_vec(), lifetime)
    }

    pub(super) fn open_message<M: Message + Default>(
        &self,
        purpose: Purpose,
        sealed: &Bytes,
    ) -> Result<M> {
        let payload = self.seal.open(purpose, sealed)?;
        // Signed and yet unreadable: another build with the same key.
        M::decode(payload).map_err(|error| {
            Error::invalid("the signed bytes are of another version of this program")
                .with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_survive_the_ticket() {
        let session = SessionOptions {
            pushdown: false,
            merge: MergePolicy::Retain,
            snapshot: Snapshot::Commit(7),
            pins: [
                (StreamId(Uuid::from_u128(1)), Version(11)),
                (StreamId(Uuid::from_u128(2)), Version(u64::MAX)),
            ]
            .into_iter()
            .collect(),
            pins_reads: true,
            schema: "grid/west".to_owned(),
            timeout: Some(Duration::from_millis(1_500)),
            read_only: true,
        };
        let ticket = Ticket::new("select 1".into(), Bytes::new(), &session);
        assert_eq!(
            (ticket.span(), ticket.compression().expect("none")),
            (None, None)
        );
        let span = TimeRange::new(i64::MIN, 17);
        let ticket = ticket.within(span).compressed(Some(Compression::Zstd));
        let ticket = Ticket::decode(Bytes::from(ticket.encode_to_vec())).expect("our own bytes");
        assert_eq!(ticket.session().expect("our own session"), session);
        assert_eq!(ticket.span(), Some(span));
        let compression = ticket.compression().expect("our own name");
        assert_eq!(compression, Some(Compression::Zstd));
    }
}
