//! Live tails: a SELECT whose rows are yet to come.
//!
//! ```text
//! Projection(time, value * 2)          steps over each batch, from the scan up:
//!   Filter(name LIKE 'L%' AND value > 60)   =>   name LIKE 'L%' chooses streams; filter value > 60; project
//!     TableScan(points)                    rows as Backend::subscribe delivers them
//! ```
//!
//! What can be followed is one table of points with predicates and projections above it, and LIMIT, which ends it. Whatever
//! needs all rows before it can say anything (aggregates, orders, joins) is refused with the reason.
//!
//! Predicates that the catalogue can decide choose the streams. They are asked again every few seconds, so that streams that
//! are created later join, and those that were obliterated or renamed leave. The others run over each batch: DataFusion's
//! physical expressions, made once. Rows come in the order in which they were sent, before any merge policy; what was inserted
//! before the tail began is not in it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use futures::stream::{self, BoxStream, Peekable};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::Gateway;
use super::delivered::conform;
use super::errors::from_datafusion;
use super::parse::parse;
use super::planner::Planner;
use super::points::{PointColumn, time_column};
use super::scan::batch_of;
use super::selection::select;
use super::session::{Frame, SessionOptions, Settings};
use super::write;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::query::BATCH_ROWS;
use crate::model::{StreamDescriptor, StreamId, SubscriptionUpdate, Write};

mod compile;
mod pieces;
mod steps;

use compile::{Compiler, chain};
use pieces::{Piece, joined, places_of};
use steps::Step;

/// How often the streams are chosen anew.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Streams that one update of a subscription names: a mebibyte of uuids, which fits into any message.
const UPDATE_STREAMS: usize = 64 * 1024;

/// Updates that wait for the backend.
const UPDATES_MAX: usize = 16;

/// A SELECT over points that are yet to come: planned, and not yet begun.
pub struct Tail {
    frame: Arc<Frame>,
    state: Arc<SessionState>,
    source: Source,
    /// The columns of the scan that steps need.
    columns: Vec<PointColumn>,
    scanned: SchemaRef,
    steps: Vec<Step>,
    schema: SchemaRef,
}

/// Whose points.
enum Source {
    /// Those of one stream.
    Stream(StreamId),
    /// Those of all streams for which these predicates hold.
    Points(Vec<Expr>),
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Plans `sql` as a question about points that are yet to come.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); Unsupported, with the reason, for statements that cannot be answered row by row, and for
    /// tables other than `points` and those of streams.
    pub async fn tail(&self, sql: &str, session: &SessionOptions) -> Result<Tail> {
        let parsed = parse(sql)?;
        if write::writing(&parsed).is_some() {
            return Err(Error::unsupported(
                "a tail follows a SELECT; what writes is run as an update",
            ));
        }
        let settings = &self.shared.settings;
        let frame = Arc::new(Frame::new(
            Arc::clone(&self.shared.backend),
            session,
            settings.batch_rows,
            settings.target_partitions,
        ));
        frame.pin().await?;
        let planner = Planner {
            state: Arc::clone(&self.shared.state),
            frame: Arc::clone(&frame),
            settings: Settings::of(session),
            optimizers: Arc::clone(&self.shared.optimizers),
            read_only: true,
        };
        let statement = planner.plan(parsed).await?;
        if !statement.parameters().fields().is_empty() {
            return Err(Error::invalid(
                "a tail binds no parameters: write their values into its text",
            ));
        }
        let (state, plan) = statement.planned();
        let (nodes, scan) = chain(plan)?;
        let compiler = Compiler::new(state, &nodes, scan)?;
        let (source, columns) = compiler.source(scan)?;
        Ok(Tail {
            frame,
            source,
            columns,
            scanned: compiler.scanned(),
            steps: compiler.steps()?,
            state: Arc::clone(state),
            schema: statement.schema(),
        })
    }
}

impl Tail {
    /// What [`follow`](Self::follow) delivers, to the nullability, in plain types.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Begins: what is inserted after this returns is delivered. (A remote backend is only on its way to begin by then.)
    ///
    /// Batches have at least one row, and rows come in the order in which they were sent. Ends after a LIMIT, and with an
    /// error: code 426 for a reader that falls too far behind, 404 when the one stream that it follows is obliterated.
    /// Dropping the stream frees the subscription.
    ///
    /// # Errors
    /// Those of looking up streams.
    pub async fn follow(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let streams = self.choose().await?;
        let ids: Vec<StreamId> = streams.iter().map(|stream| stream.id).collect();
        let first: Vec<_> = ids
            .chunks(UPDATE_STREAMS)
            .map(|ids| SubscriptionUpdate::Add(ids.to_vec()))
            .collect();
        let (updates, receiver) = mpsc::channel(UPDATES_MAX);
        let all = stream::iter(first).chain(ReceiverStream::new(receiver));
        let mut writes = self.frame.backend.subscribe(all.boxed()).peekable();
        // A subscription begins when it is first asked, not when it is made.
        let _begun = futures::poll!(Pin::new(&mut writes).peek());
        let follower = Follower {
            is_over: self.is_spent(),
            tail: self,
            chosen: streams.into_iter().map(|s| (s.id, s)).collect(),
            updates,
            writes,
            rest: None,
            error: None,
            look_at: Instant::now() + LOOK_EVERY,
        };
        Ok(stream::unfold(follower, |mut follower| async {
            let next = follower.next().await?;
            Some((next, follower))
        })
        .boxed())
    }

    /// The streams that are followed as of now.
    async fn choose(&self) -> Result<Vec<Arc<StreamDescriptor>>> {
        match &self.source {
            Source::Stream(id) => self.frame.backend.describe(&[*id]).await,
            Source::Points(filters) => select(&self.frame, self.state.as_ref(), filters)
                .await
                .map_err(from_datafusion),
        }
    }

    /// Whether a LIMIT was reached.
    fn is_spent(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Limit { left: Some(0), .. }))
    }

    /// What the statement makes of these rows.
    fn rows(&mut self, pieces: &[Piece]) -> DataFusionResult<RecordBatch> {
        let mut batch = self.scan(pieces)?;
        for step in &mut self.steps {
            if batch.num_rows() == 0 {
                break;
            }
            batch = step.apply(batch)?;
        }
        if batch.num_rows() == 0 {
            return Ok(RecordBatch::new_empty(self.schema()));
        }
        conform(&batch, &self.schema)
    }

    fn scan(&self, pieces: &[Piece]) -> DataFusionResult<RecordBatch> {
        let rows = pieces.iter().map(|piece| piece.times.len()).sum();
        let streams: Vec<_> = pieces
            .iter()
            .map(|piece| Arc::clone(&piece.stream))
            .collect();
        let mut places: Option<UInt32Array> = None;
        let columns = self.columns.iter().map(|column| {
            Ok(match column {
                PointColumn::Time => {
                    let times = joined(pieces, rows, |piece| &piece.times);
                    time_column(TimestampNanosecondArray::new(times, None))
                }
                PointColumn::Value => {
                    let values = joined(pieces, rows, |piece| &piece.values);
                    Arc::new(Float64Array::new(values, None)) as ArrayRef
                }
                PointColumn::Stream(column) => {
                    let places = places.get_or_insert_with(|| places_of(pieces));
                    take(&column.told_column(&streams)?, places, None)?
                }
            })
        });
        let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
        batch_of(&self.scanned, columns, rows)
    }
}

/// A tail under way.
struct Follower {
    tail: Tail,
    chosen: HashMap<StreamId, Arc<StreamDescriptor>>,
    updates: mpsc::Sender<SubscriptionUpdate>,
    writes: Peekable<BoxStream<'static, Result<Write>>>,
    /// What a large write still holds.
    rest: Option<Piece>,
    /// What failed, after the rows that came before.
    error: Option<Error>,
    /// When streams are chosen anew.
    look_at: Instant,
    is_over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(error) = self.error.take() {
                self.is_over = true;
                return Some(Err(error));
            }
            let Some(first) = self.first().await else {
                continue;
            };
            let pieces = self.gather(first);
            match self.tail.rows(&pieces) {
                Ok(rows) => {
                    self.is_over = self.tail.is_spent();
                    if rows.num_rows() > 0 {
                        return Some(Ok(rows));
                    }
                }
                Err(error) => self.error = Some(from_datafusion(error)),
            }
        }
    }

    /// Waits for rows; none if something else happened.
    async fn first(&mut self) -> Option<Piece> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        // Both branches are cancel safe: a timer that is made anew fires at the same time, a stream's next loses nothing.
        tokio::select! {
            biased;
            () = sleep_until(self.look_at) => {
                if let Err(error) = self.look().await {
                    self.error = Some(error);
                }
                None
            }
            write = self.writes.next() => self.take(write),
        }
    }

    /// `first`, and what has come meanwhile: many small writes make one batch.
    fn gather(&mut self, first: Piece) -> Vec<Piece> {
        let mut rows = 0;
        let mut pieces = Vec::new();
        let mut next = Some(first);
        loop {
            if let Some(piece) = next.take() {
                let (piece, rest) = piece.split(BATCH_ROWS - rows);
                rows += piece.times.len();
                pieces.push(piece);
                self.rest = rest;
            }
            if rows >= BATCH_ROWS || self.error.is_some() {
                return pieces;
            }
            match self.writes.next().now_or_never() {
                None => return pieces,
                Some(write) => next = self.take(write),
            }
        }
    }

    /// The rows of what the subscription delivered; none if it is no rows.
    fn take(&mut self, write: Option<Result<Write>>) -> Option<Piece> {
        match write {
            Some(Ok(write)) => {
                // Streams that left may still have had something on the way.
                let stream = Arc::clone(self.chosen.get(&write.stream)?);
                (!write.times.is_empty()).then_some(Piece {
                    stream,
                    times: write.times,
                    values: write.values,
                })
            }
            // One of them is gone. The next look says which, and what that means.
            Some(Err(error)) if error.code() == Some(Code::NoSuchStream) => {
                self.look_at = Instant::now();
                None
            }
            Some(Err(error)) => {
                self.error = Some(error);
                None
            }
            None => {
                self.error = Some(Error::new(
                    ErrorKind::Unavailable,
                    "the store ended the subscription: begin again, and read what was inserted meanwhile",
                ));
                None
            }
        }
    }

    /// Chooses the streams anew.
    async fn look(&mut self) -> Result<()> {
        self.look_at = Instant::now() + LOOK_EVERY;
        let now = match self.tail.choose().await {
            Ok(now) => now,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                // The subscription is the one to say whether it still lives.
                tracing::debug!(%error, "streams could not be chosen anew");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let ids: HashSet<StreamId> = now.iter().map(|stream| stream.id).collect();
        let left: Vec<StreamId> = self
            .chosen
            .keys()
            .filter(|id| !ids.contains(id))
            .copied()
            .collect();
        for left in left.chunks(UPDATE_STREAMS) {
            if self.send(SubscriptionUpdate::Remove(left.to_vec())) {
                for id in left {
                    self.chosen.remove(id);
                }
            }
        }
        let (known, new): (Vec<_>, Vec<_>) = now
            .into_iter()
            .partition(|stream| self.chosen.contains_key(&stream.id));
        // Names and units may have changed.
        self.chosen.extend(known.into_iter().map(|s| (s.id, s)));
        for new in new.chunks(UPDATE_STREAMS) {
            let ids = new.iter().map(|stream| stream.id).collect();
            if self.send(SubscriptionUpdate::Add(ids)) {
                let new = new.iter().map(|stream| (stream.id, Arc::clone(stream)));
                self.chosen.extend(new);
            }
        }
        Ok(())
    }

    /// Whether there was room for the update; otherwise the next look finds the same again.
    fn send(&self, update: SubscriptionUpdate) -> bool {
        self.updates.try_send(update).is_ok()
    }
}
