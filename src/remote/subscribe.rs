//! Points as others insert them: one call that goes on for as long as its updates do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, try_unfold};
use futures::{Stream, StreamExt, TryFutureExt};
use tonic::{Status, Streaming};

use super::ahead::Results;
use super::calls::Answer;
use super::failure::Failure;
use super::link::Link;
use super::pool::Pool;
use super::reads::{points_of, unreadable};
use crate::error::{Error, Result};
use crate::model::{SubscriptionUpdate, Write};
use crate::wire::{proto, streams};

/// What is inserted into the streams that `updates` name.
///
/// It is not begun again where it breaks off: what was inserted meanwhile would be missing, and nobody would know.
pub(super) fn subscribe(
    link: Arc<Link>,
    updates: BoxStream<'static, SubscriptionUpdate>,
) -> Results<Write> {
    let begun = async move {
        let pool = link.pool();
        let (mut client, endpoint) = pool.client();
        let deliveries = client.subscribe(link.request(Updates(updates))).await;
        let deliveries = deliveries.map_err(|status| failed(&link, &pool, &status, &endpoint))?;
        let subscription = Subscription {
            link,
            pool,
            deliveries: deliveries.into_inner(),
            endpoint,
        };
        // An answer that is an error does not end it: each is a result of its own.
        let results = try_unfold(subscription, |mut subscription| async move {
            let delivery = subscription.next().await?;
            Ok(delivery.map(|delivery| (delivery, subscription)))
        });
        Ok(results.map(|delivery: Result<Result<Write>>| delivery.and_then(|write| write)))
    };
    begun.try_flatten_stream().boxed()
}

/// Updates as they travel. A type of its own, because the compiler does not see that a boxed stream can be sent from here.
struct Updates(BoxStream<'static, SubscriptionUpdate>);

impl Stream for Updates {
    type Item = proto::SubscriptionUpdate;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context).map(|next| next.map(update))
    }
}

fn update(update: SubscriptionUpdate) -> proto::SubscriptionUpdate {
    let (op, ids) = match update {
        SubscriptionUpdate::Add(ids) => (proto::SubscriptionUpdateOp::AddUuids, ids),
        SubscriptionUpdate::Remove(ids) => (proto::SubscriptionUpdateOp::RemoveUuids, ids),
    };
    proto::SubscriptionUpdate {
        op: op.into(),
        uuid: ids.into_iter().map(streams::uuid).collect(),
    }
}

fn failed(link: &Link, pool: &Arc<Pool>, status: &Status, endpoint: &str) -> Error {
    let failure = Failure::of_status(status, endpoint);
    link.note(&failure, pool);
    failure.told()
}

struct Subscription {
    link: Arc<Link>,
    pool: Arc<Pool>,
    deliveries: Streaming<proto::SubscriptionResp>,
    endpoint: Arc<str>,
}

impl Subscription {
    /// The next delivery, or what the server has to say about a stream; none at the end.
    async fn next(&mut self) -> Result<Option<Result<Write>>> {
        let message = self.deliveries.message().await;
        let message =
            message.map_err(|status| failed(&self.link, &self.pool, &status, &self.endpoint))?;
        Ok(message.map(|message| self.delivery(message)))
    }

    fn delivery(&self, mut message: proto::SubscriptionResp) -> Result<Write> {
        if let Some(stat) = message.refusal().filter(|stat| stat.code != 0) {
            return Err(Failure::of_answer(stat, &self.endpoint).told());
        }
        decoded(message).map_err(|error| unreadable(&error))
    }
}

fn decoded(message: proto::SubscriptionResp) -> Result<Write> {
    let stream = streams::id(&message.uuid)?;
    let (times, values) = points_of(message.arrow_bytes)?;
    Ok(Write {
        stream,
        times,
        values,
    })
}
