//! Results as answers: what fails is a message too.

use std::iter::Peekable;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::{Response, Status};

use crate::error::{Error, ErrorKind, Result};
use crate::wire::arrow::MESSAGE_BYTES;
use crate::wire::{proto, status};

/// What a call answers with one message.
pub(super) type Answer<R> = std::result::Result<Response<R>, Status>;

/// What a call answers with many messages.
pub(super) type Answers<R> = BoxStream<'static, std::result::Result<R, Status>>;

/// Messages in the making; nothing comes after an error.
pub(super) type Messages<R> = BoxStream<'static, Result<R>>;

/// A message that can say what went wrong.
pub(super) trait Reply: Send + 'static {
    /// The message that says only that.
    fn failed(stat: proto::Status) -> Self;
}

macro_rules! replies {
    ($($message:ident),* $(,)?) => {
        $(impl Reply for proto::$message {
            #[allow(clippy::needless_update, reason = "some messages have nothing but a stat")]
            fn failed(stat: proto::Status) -> Self {
                Self { stat: Some(stat), ..Self::default() }
            }
        })*
    };
}

replies!(
    AlignedWindowsResponse,
    ArrowAlignedWindowsResponse,
    ArrowMultiValuesResponse,
    ArrowRawValuesResponse,
    ArrowWindowsResponse,
    ChangesResponse,
    CreateResponse,
    DeleteResponse,
    FaultInjectResponse,
    FlushResponse,
    GenerateCsvResponse,
    InfoResponse,
    InsertResponse,
    ListCollectionsResponse,
    LookupStreamsResponse,
    MetadataUsageResponse,
    NearestResponse,
    ObliterateResponse,
    RawValuesResponse,
    SetStreamAnnotationsResponse,
    SetStreamTagsResponse,
    SqlQueryResponse,
    StreamInfoResponse,
    SubscriptionResp,
    WindowsResponse,
);

/// The `stat` that says `error`.
pub(super) fn stat(error: &Error) -> proto::Status {
    if error.kind() == ErrorKind::Internal {
        // Nobody reads a server's defects off a client's screen: this is where they are kept.
        tracing::error!(?error, "internal error");
    }
    status::stat(error)
}

/// The answer to a call with one.
pub(super) fn one<R: Reply>(outcome: Result<R>) -> Answer<R> {
    let reply = outcome.unwrap_or_else(|error| R::failed(stat(&error)));
    Ok(Response::new(reply))
}

/// The answer to a call with many: an error is the last message, whether or not others came before it.
pub(super) fn many<R: Reply>(outcome: Result<Messages<R>>) -> Answer<Answers<R>> {
    let messages = outcome.unwrap_or_else(|error| stream::once(async { Err(error) }).boxed());
    let answers = stream::unfold(Some(messages), |messages| async {
        let mut messages = messages?;
        match messages.next().await? {
            Ok(message) => Some((Ok(message), Some(messages))),
            Err(error) => Some((Ok(R::failed(stat(&error))), None)),
        }
    });
    Ok(Response::new(answers.boxed()))
}

/// `messages`, or where there are none the one that `nothing` makes.
pub(super) fn or_else<R: Send + 'static>(
    messages: impl Stream<Item = Result<R>> + Send + 'static,
    nothing: impl FnOnce() -> Result<R> + Send + 'static,
) -> Messages<R> {
    let state = (messages.boxed().fuse(), Some(nothing));
    stream::try_unfold(state, |(mut messages, nothing)| async move {
        let message = match (messages.try_next().await?, nothing) {
            (None, None) => return Ok(None),
            (None, Some(nothing)) => nothing()?,
            (Some(message), _) => message,
        };
        Ok(Some((message, (messages, None))))
    })
    .boxed()
}

/// Items for one message each: at most `items_max`, and about [`MESSAGE_BYTES`]. Of no items, one empty group.
pub(super) struct Groups<I: Iterator> {
    items: Peekable<I>,
    items_max: usize,
    bytes_of: fn(&I::Item) -> usize,
    is_begun: bool,
}

impl<I: Iterator> Groups<I> {
    pub(super) fn new(items: I, items_max: usize, bytes_of: fn(&I::Item) -> usize) -> Self {
        Self {
            items: items.peekable(),
            items_max,
            bytes_of,
            is_begun: false,
        }
    }
}

impl<I: Iterator> Iterator for Groups<I> {
    type Item = Vec<I::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_begun && self.items.peek().is_none() {
            return None;
        }
        self.is_begun = true;
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < self.items_max && bytes < MESSAGE_BYTES {
            let Some(item) = self.items.next() else {
                break;
            };
            bytes += (self.bytes_of)(&item);
            group.push(item);
        }
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded_twice() {
        let sizes = |items: Vec<usize>| -> Vec<usize> {
            Groups::new(items.into_iter(), 3, |&bytes| bytes)
                .map(|group| group.len())
                .collect()
        };
        assert_eq!(sizes(vec![]), [0], "one message even of nothing");
        assert_eq!(sizes(vec![1; 7]), [3, 3, 1]);
        assert_eq!(sizes(vec![1; 3]), [3]);
        assert_eq!(sizes(vec![MESSAGE_BYTES, 1, MESSAGE_BYTES, 1]), [1, 2, 1]);
    }

    #[tokio::test]
    async fn an_error_is_the_last_message() {
        let messages = stream::iter([
            Ok(proto::ChangesResponse::default()),
            Err(Error::invalid("why")),
            Ok(proto::ChangesResponse::default()),
        ]);
        let answers = many(Ok(messages.boxed())).expect("an answer").into_inner();
        let answers: Vec<_> = answers.try_collect().await.expect("no status");
        assert_eq!(answers.len(), 2);
        assert!(answers[0].stat.is_none());
        assert_eq!(answers[1].stat.as_ref().map(|stat| stat.code), Some(438));
    }
}
