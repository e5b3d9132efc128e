//! PollFlightInfo: answers that are asked for again, until they are there.

use arrow::array::AsArray;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, PollInfo,
};
use btrdb_flight::backend::observed::Operation;
use prost::Message;
use tonic::{Code, Status};

use super::*;

async fn poll(server: &Server, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
    let mut client = FlightServiceClient::new(server.channel().await);
    let answer = client.poll_flight_info(descriptor).await?;
    let poll = answer.into_inner();
    assert!(poll.info.is_some(), "each answer has a FlightInfo");
    let progress = poll.progress.expect("known");
    assert!((0.0..=1.0).contains(&progress), "{progress}");
    assert_eq!(poll.flight_descriptor.is_none(), progress == 1.0);
    Ok(poll)
}

fn statement(sql: &str) -> FlightDescriptor {
    let command = CommandStatementQuery {
        query: sql.to_owned(),
        transaction_id: None,
    };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

async fn started() -> Server {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    server
}

/// An INSERT whose rows take long to make, because they are as good as none of very many.
const SLOW: &str = "INSERT INTO lab.a SELECT to_timestamp_nanos(n), 1.0 \
                    FROM generate_series(1, 300000000) AS t(n) WHERE n % 100000000 = 7";

#[tokio::test]
async fn what_is_planned_at_once_is_done_with_the_first_poll() {
    let server = started().await;
    let tables = CommandGetTables::default();
    for descriptor in [
        statement("SELECT count(*) FROM lab.a"),
        FlightDescriptor::new_cmd("SELECT 1"),
        path(&["lab", "a"]),
        FlightDescriptor::new_cmd(tables.as_any().encode_to_vec()),
    ] {
        let poll = poll(&server, descriptor).await.expect("done");
        assert!(poll.flight_descriptor.is_none());
        let info = poll.info.expect("a FlightInfo");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let mut client = server.flight().await;
        let stream = client.do_get(ticket).await.expect("a stream");
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
        assert!(batches.iter().any(|batch| batch.num_rows() > 0));
    }
    for (sql, code) in [
        ("SELECT", Code::InvalidArgument),
        ("SELECT * FROM lab.nothing", Code::NotFound),
    ] {
        let error = poll(&server, statement(sql)).await.expect_err(sql);
        assert_eq!(error.code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_write_is_polled_for_and_runs_once() {
    let server = started().await;
    let before = server.backend.counts().calls(Operation::Insert);
    let first = poll(&server, statement(SLOW)).await.expect("begun");
    let again = first.flight_descriptor.clone().expect("not done yet");
    assert!(first.expiration_time.is_some());
    assert!(first.info.expect("a FlightInfo").endpoint.is_empty());
    let mut polls = 0;
    let info = loop {
        // Twice each time, as a client does that lost an answer.
        let _lost = poll(&server, again.clone()).await.expect("underway");
        let poll = poll(&server, again.clone()).await.expect("underway");
        polls += 1;
        assert!(polls < 1000, "it does not end");
        if poll.flight_descriptor.is_none() {
            break poll.info.expect("a FlightInfo");
        }
    };
    assert_eq!(server.backend.counts().calls(Operation::Insert) - before, 1);
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut client = server.flight().await;
    let stream = client.do_get(ticket).await.expect("a stream");
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("a count");
    let count = batches[0]
        .column(0)
        .as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(count.value(0), 3);
    // The end is told as often as it is asked for.
    let once_more = poll(&server, again.clone()).await.expect("done");
    assert_eq!(once_more.info.expect("a FlightInfo"), info);
    assert_eq!(number(&mut client, "SELECT count(*) FROM lab.a").await, 4);
    // Nothing else is a descriptor to poll with.
    let mut altered = again.cmd.to_vec();
    altered[20] ^= 1;
    let error = poll(&server, FlightDescriptor::new_cmd(altered)).await;
    assert_eq!(error.expect_err("altered").code(), Code::InvalidArgument);
    let other = started().await;
    let error = poll(&other, again).await.expect_err("of another server");
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_polled_for_can_be_cancelled() {
    let server = started().await;
    let first = poll(&server, statement(SLOW)).await.expect("begun");
    let again = first.flight_descriptor.clone().expect("not done yet");
    let request = CancelFlightInfoRequest { info: first.info };
    let mut client = server.flight().await;
    let action = Action::new("CancelFlightInfo", request.encode_to_vec());
    let mut results = client.do_action(action).await.expect("it runs");
    let body = results.try_next().await.expect("an answer").expect("one");
    let status = CancelFlightInfoResult::decode(body)
        .expect("a result")
        .status();
    assert_eq!(status, CancelStatus::Cancelled);
    let ended = poll(&server, again).await.expect_err("cancelled");
    assert_eq!(ended.code(), Code::Cancelled);
    assert_eq!(number(&mut client, "SELECT count(*) FROM lab.a").await, 1);
}
