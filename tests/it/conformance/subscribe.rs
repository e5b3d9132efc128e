//! Subscriptions: what is inserted is delivered, as it was sent.

use btrdb_flight::error::{Code, Result};
use btrdb_flight::model::{
    InsertOptions, MergePolicy, StreamId, SubscriptionUpdate, TimeRange, Write,
};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::BoxStream;

use super::{Row, Subject, assert_refused, fresh_id, ramp, write};

checks! {
    inserts_are_delivered_as_sent,
    history_is_not_replayed,
    merged_away_points_are_delivered_too,
    refused_inserts_are_not_delivered,
    every_write_of_a_call_is_delivered,
    streams_not_asked_for_are_not_delivered,
    removed_streams_are_no_longer_delivered,
    adding_twice_delivers_once,
    removing_a_stranger_is_harmless,
    unknown_streams_are_told_and_do_not_end_it,
    every_subscriber_is_served,
    a_subscriber_who_left_holds_up_nobody,
    it_ends_with_its_updates,
    a_slow_reader_is_cut_off,
    deletes_are_not_delivered,
}

struct Subscriber {
    updates: UnboundedSender<SubscriptionUpdate>,
    writes: BoxStream<'static, Result<Write>>,
}

impl Subscriber {
    fn new(db: &Subject) -> Self {
        let (updates, receiver) = unbounded();
        Self {
            updates,
            writes: db.subscribe(receiver.boxed()),
        }
    }

    async fn to(db: &Subject, streams: &[StreamId]) -> Self {
        let mut subscriber = Self::new(db);
        subscriber
            .update(SubscriptionUpdate::Add(streams.to_vec()))
            .await;
        subscriber
    }

    /// Sends an update and waits until it holds: a stranger sent after it is told only once it does.
    async fn update(&mut self, update: SubscriptionUpdate) {
        let stranger = SubscriptionUpdate::Add(vec![fresh_id()]);
        for update in [update, stranger] {
            self.updates.unbounded_send(update).expect("subscribed");
        }
        let answer = self.writes.next().await.expect("still subscribed");
        assert_refused(answer, Code::NoSuchStream, "the stranger");
    }

    /// The next delivery, in the order in which it came.
    async fn next(&mut self) -> (StreamId, Vec<Row>) {
        let answer = self.writes.next().await.expect("still subscribed");
        let write = answer.expect("delivered");
        let rows = write
            .times
            .iter()
            .copied()
            .zip(write.values.iter().copied());
        (write.stream, rows.collect())
    }

    /// Ends the subscription; asserts that nothing more was delivered.
    async fn end(self) {
        drop(self.updates);
        let rest: Vec<_> = self.writes.collect().await;
        assert!(rest.is_empty(), "{rest:?}");
    }
}

async fn inserts_are_delivered_as_sent(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    let batches = [
        vec![(3, 3.0), (1, -0.0), (2, 2.0), (1, 1.0)],
        ramp(0, 1, 5000),
        vec![(0, 0.0)],
    ];
    for batch in &batches {
        db.write(stream, batch).await;
    }
    for batch in batches {
        assert_eq!(subscriber.next().await, (stream, batch));
    }
    subscriber.end().await;
}

async fn history_is_not_replayed(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 10)).await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    db.write(stream, &[(99, 9.0)]).await;
    assert_eq!(subscriber.next().await, (stream, vec![(99, 9.0)]));
    subscriber.end().await;
}

async fn merged_away_points_are_delivered_too(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    let batch = vec![(1, 1.0), (1, 2.0), (1, 1.0)];
    for policy in MergePolicy::ALL {
        db.merge(stream, &batch, policy).await;
        assert_eq!(
            subscriber.next().await,
            (stream, batch.clone()),
            "{policy:?}"
        );
    }
    subscriber.end().await;
}

async fn refused_inserts_are_not_delivered(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    let bad = [(1, 1.0), (2, f64::NAN)];
    let answer = db.try_write(stream, &bad, InsertOptions::default()).await;
    assert_refused(answer, Code::BadValue, "NaN");
    db.write(stream, &[(3, 3.0)]).await;
    assert_eq!(subscriber.next().await, (stream, vec![(3, 3.0)]));
    subscriber.end().await;
}

async fn every_write_of_a_call_is_delivered(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let mut subscriber = Subscriber::to(&db, &[a, b]).await;
    let writes = vec![
        write(a, &[(1, 1.0)]),
        write(b, &[(2, 2.0)]),
        write(a, &[(1, 3.0)]),
    ];
    db.insert(writes, InsertOptions::default()).await;
    let mut delivered = vec![
        subscriber.next().await,
        subscriber.next().await,
        subscriber.next().await,
    ];
    delivered.sort_by_key(|(stream, _)| *stream != a);
    let expected = [
        (a, vec![(1, 1.0)]),
        (a, vec![(1, 3.0)]),
        (b, vec![(2, 2.0)]),
    ];
    assert_eq!(delivered, expected, "in order within each stream");
    subscriber.end().await;
}

async fn streams_not_asked_for_are_not_delivered(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let mut subscriber = Subscriber::to(&db, &[b]).await;
    db.write(a, &[(1, 1.0)]).await;
    db.write(b, &[(2, 2.0)]).await;
    assert_eq!(subscriber.next().await, (b, vec![(2, 2.0)]));
    subscriber.end().await;
}

async fn removed_streams_are_no_longer_delivered(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let mut subscriber = Subscriber::to(&db, &[a, b]).await;
    db.write(a, &[(1, 1.0)]).await;
    assert_eq!(subscriber.next().await.0, a);
    subscriber.update(SubscriptionUpdate::Remove(vec![a])).await;
    db.write(a, &[(2, 2.0)]).await;
    db.write(b, &[(3, 3.0)]).await;
    assert_eq!(subscriber.next().await, (b, vec![(3, 3.0)]));
    subscriber.update(SubscriptionUpdate::Add(vec![a])).await;
    db.write(a, &[(4, 4.0)]).await;
    assert_eq!(subscriber.next().await, (a, vec![(4, 4.0)]), "added again");
    subscriber.end().await;
}

async fn adding_twice_delivers_once(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut subscriber = Subscriber::to(&db, &[stream, stream]).await;
    subscriber
        .update(SubscriptionUpdate::Add(vec![stream]))
        .await;
    db.write(stream, &[(1, 1.0)]).await;
    assert_eq!(subscriber.next().await, (stream, vec![(1, 1.0)]));
    db.write(stream, &[(2, 2.0)]).await;
    assert_eq!(subscriber.next().await, (stream, vec![(2, 2.0)]));
    subscriber.end().await;
}

async fn removing_a_stranger_is_harmless(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let mut subscriber = Subscriber::to(&db, &[a]).await;
    subscriber
        .update(SubscriptionUpdate::Remove(vec![b, fresh_id()]))
        .await;
    db.write(a, &[(1, 1.0)]).await;
    assert_eq!(subscriber.next().await.0, a);
    subscriber.end().await;
}

async fn unknown_streams_are_told_and_do_not_end_it(db: Subject) {
    let known = db.stream("c/known").await;
    let mut subscriber = Subscriber::new(&db);
    let strangers = vec![fresh_id(), known, fresh_id()];
    for stranger in [strangers[0], strangers[2]] {
        let update = SubscriptionUpdate::Add(vec![stranger]);
        subscriber
            .updates
            .unbounded_send(update)
            .expect("subscribed");
        let answer = subscriber.writes.next().await.expect("still subscribed");
        assert_refused(answer, Code::NoSuchStream, "a stranger");
    }
    let update = SubscriptionUpdate::Add(strangers);
    subscriber
        .updates
        .unbounded_send(update)
        .expect("subscribed");
    for _ in 0..2 {
        let answer = subscriber.writes.next().await.expect("still subscribed");
        assert_refused(answer, Code::NoSuchStream, "one answer a stranger");
    }
    db.write(known, &[(1, 1.0)]).await;
    assert_eq!(
        subscriber.next().await,
        (known, vec![(1, 1.0)]),
        "its neighbour was added"
    );
    subscriber.end().await;
}

async fn every_subscriber_is_served(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut subscribers = Vec::new();
    for _ in 0..5 {
        subscribers.push(Subscriber::to(&db, &[stream]).await);
    }
    db.write(stream, &[(1, 1.0)]).await;
    for mut subscriber in subscribers {
        assert_eq!(subscriber.next().await, (stream, vec![(1, 1.0)]));
        subscriber.end().await;
    }
}

async fn a_subscriber_who_left_holds_up_nobody(db: Subject) {
    let stream = db.stream("c/name").await;
    let leaver = Subscriber::to(&db, &[stream]).await;
    let mut stayer = Subscriber::to(&db, &[stream]).await;
    drop(leaver);
    for i in 0..100 {
        db.write(stream, &[(i, 1.0)]).await;
        assert_eq!(stayer.next().await, (stream, vec![(i, 1.0)]));
    }
    stayer.end().await;
}

async fn it_ends_with_its_updates(db: Subject) {
    let stream = db.stream("c/name").await;
    Subscriber::new(&db).end().await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    db.write(stream, &[(1, 1.0)]).await;
    subscriber.next().await;
    subscriber.end().await;
    db.write(stream, &[(2, 2.0)]).await;
}

async fn a_slow_reader_is_cut_off(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut slow = Subscriber::to(&db, &[stream]).await;
    // More than any queue should hold, and merged away so that the store need not hold it either.
    let batch = write(stream, &ramp(0, 1, 4000));
    let options = InsertOptions {
        merge: MergePolicy::Retain,
        rounding_bits: 0,
    };
    for _ in 0..6 {
        for answer in db.insert(vec![batch.clone(); 512], options).await {
            answer.expect("writers do not wait for readers");
        }
    }
    let mut delivered = 0;
    let error = loop {
        match slow.writes.next().await.expect("an error ends it") {
            Ok(_) => delivered += 1,
            Err(error) => break error,
        }
    };
    assert!(delivered < 6 * 512, "all of it was queued");
    assert_refused(Err::<(), _>(error), Code::ResourceDepleted, "a slow reader");
    assert!(slow.writes.next().await.is_none(), "it is over");
}

async fn deletes_are_not_delivered(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let mut subscriber = Subscriber::to(&db, &[stream]).await;
    db.delete(stream, TimeRange::ALL).await.expect("deleted");
    db.write(stream, &[(2, 2.0)]).await;
    assert_eq!(subscriber.next().await, (stream, vec![(2, 2.0)]));
    subscriber.end().await;
}
