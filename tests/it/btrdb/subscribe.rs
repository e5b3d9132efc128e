//! Points as they are inserted.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, TimestampNanosecondType};
use btrdb_flight::model::{InsertOptions, StreamId, Write};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

struct Subscription {
    updates: Option<mpsc::Sender<SubscriptionUpdate>>,
    answers: Streaming<SubscriptionResp>,
}

impl Subscription {
    async fn open(server: &Server) -> Self {
        let (updates, receiver) = mpsc::channel(16);
        let answers = server
            .client()
            .subscribe(ReceiverStream::new(receiver))
            .await;
        Self {
            updates: Some(updates),
            answers: answers.expect("a subscription").into_inner(),
        }
    }

    async fn update(&self, op: i32, uuid: Vec<Bytes>) {
        let updates = self.updates.as_ref().expect("open");
        updates
            .send(SubscriptionUpdate { op, uuid })
            .await
            .expect("read");
    }

    async fn add(&self, uuids: &[&Bytes]) {
        let uuids = uuids.iter().map(|uuid| (*uuid).clone()).collect();
        self.update(SubscriptionUpdateOp::AddUuids.into(), uuids)
            .await;
    }

    async fn next(&mut self) -> Option<SubscriptionResp> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.answers.message()).await;
        next.expect("in time").expect("errors are in the answer")
    }

    /// Inserts into `uuid` until the subscription tells of it; answers what it told first.
    async fn first(
        &mut self,
        server: &Server,
        uuid: &Bytes,
        points: &[(i64, f64)],
    ) -> SubscriptionResp {
        for _ in 0..100 {
            server.insert(uuid, points).await.expect("inserted");
            let next = tokio::time::timeout(Duration::from_millis(100), self.answers.message());
            if let Ok(answer) = next.await {
                return answer.expect("no status").expect("no end");
            }
        }
        panic!("never told");
    }
}

fn told(answer: SubscriptionResp) -> (Bytes, Vec<(i64, f64)>) {
    assert_eq!(answer.stat, None);
    let found = table(&points_schema(), [answer.arrow_bytes]);
    let times = found
        .column(0)
        .as_primitive::<TimestampNanosecondType>()
        .values();
    let values = found.column(1).as_primitive::<Float64Type>().values();
    (
        answer.uuid,
        times.iter().copied().zip(values.iter().copied()).collect(),
    )
}

#[tokio::test]
async fn inserts_are_told_in_the_order_sent() {
    let server = Server::start().await;
    let (a, b) = (server.stream(1).await, server.stream(2).await);
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&a]).await;
    let points = [(3, 3.0), (1, 1.0), (3, 3.5)];
    let first = subscription.first(&server, &a, &points).await;
    assert_eq!(told(first), (a.clone(), points.to_vec()));
    // From here on it is known to be heard. What is told is what was sent, whatever became of it.
    server.insert(&b, &points).await.expect("not subscribed");
    server
        .merge(&a, MergePolicy::Retain, &[(1, 9.0)])
        .await
        .expect("dropped");
    loop {
        let (uuid, rows) = told(subscription.next().await.expect("open"));
        assert_eq!(uuid, a);
        if rows == [(1, 9.0)] {
            break;
        }
        assert_eq!(
            rows, points,
            "what was inserted before anyone listened may come late"
        );
    }
}

#[tokio::test]
async fn unknown_streams_are_told_and_the_call_stays_open() {
    let server = Server::start().await;
    let (known, unknown) = (server.stream(1).await, id(9));
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&unknown]).await;
    let answer = subscription.next().await.expect("open");
    let stat = answer.stat.expect("a failure");
    assert_eq!(
        (stat.code, stat.msg.as_str()),
        (404, "stream does not exist")
    );
    assert_eq!(answer.uuid, unknown);
    assert!(answer.arrow_bytes.is_empty());
    // Many at once, among them one that there is; more than are ever waiting.
    let many: Vec<Bytes> = (100..200).map(id).collect();
    let mut all: Vec<&Bytes> = many.iter().collect();
    all.insert(50, &known);
    subscription.add(&all).await;
    for uuid in &many {
        let answer = subscription.next().await.expect("open");
        assert_eq!(answer.stat.map(|stat| stat.code), Some(404));
        assert_eq!(&answer.uuid, uuid);
    }
    // Malformed updates are told as well.
    let short = Bytes::from_static(b"short");
    subscription.add(&[&short]).await;
    let answer = subscription.next().await.expect("open");
    assert_eq!(answer.stat.map(|stat| stat.code), Some(438));
    assert_eq!(answer.uuid, short);
    subscription.update(7, vec![known.clone()]).await;
    let answer = subscription.next().await.expect("open");
    assert_eq!(answer.stat.map(|stat| stat.code), Some(438));
    // Adding twice and removing what was never added does no harm.
    subscription.add(&[&known, &known]).await;
    let remove = SubscriptionUpdateOp::RemoveUuids.into();
    subscription.update(remove, vec![unknown]).await;
    let first = subscription.first(&server, &known, &[(1, 1.0)]).await;
    assert_eq!(told(first), (known, vec![(1, 1.0)]));
}

#[tokio::test]
async fn a_client_that_has_said_all_ends_the_call() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&uuid]).await;
    subscription.first(&server, &uuid, &[(1, 1.0)]).await;
    subscription.updates = None;
    while let Some(answer) = subscription.next().await {
        assert_eq!(answer.stat, None);
    }
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&id(9)]).await;
    subscription.updates = None;
    let answer = subscription.next().await.expect("told before the end");
    assert_eq!(answer.stat.map(|stat| stat.code), Some(404));
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left_behind() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&uuid]).await;
    subscription.first(&server, &uuid, &[(1, 1.0)]).await;
    // In one call, so that there is no turn for the subscriber in between.
    let writes = (0..20_000).map(|time| Write {
        stream: StreamId(Uuid::from_u128(1)),
        times: vec![time].into(),
        values: vec![1.0].into(),
    });
    let options = InsertOptions::default();
    for version in server.backend.insert(writes.collect(), options).await {
        version.expect("inserts do not wait");
    }
    let mut last = None;
    while let Some(answer) = subscription.next().await {
        last = Some(answer);
    }
    let stat = last.expect("answers").stat.expect("a failure");
    assert_eq!(stat.code, 426);
}

/// More rows than a message takes are told in several.
#[tokio::test]
async fn large_inserts_are_told_in_parts() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut subscription = Subscription::open(&server).await;
    subscription.add(&[&uuid]).await;
    let points: Vec<_> = (0..100_000).map(|i| (i, i as f64)).collect();
    let (_, mut rows) = told(subscription.first(&server, &uuid, &points).await);
    assert_eq!(rows.len(), 64 * 1024);
    rows.extend(told(subscription.next().await.expect("the rest")).1);
    assert_eq!(rows, points);
}
