//! Work that ends before it is done: cancelled, out of time, or because nobody reads it any more.

use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandGetCatalogs, ProstMessageExt,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint,
    FlightInfo, RenewFlightEndpointRequest, Ticket,
};
use btrdb_flight::backend::observed::Operation;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Request, Status};

use super::*;

/// Never done, and never rests: nothing inside of it can stop it.
const RESTLESS: &str =
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n % 1000 + 1 FROM t) SELECT sum(n) FROM t";

/// So many rows that nobody waits for the last.
const LONG: &str = "SELECT value FROM generate_series(1, 1000000000000) AS t(value)";

const SECOND: Duration = Duration::from_secs(1);

async fn act(client: &mut FlightClient, name: &str, body: impl Message) -> Result<Bytes, Status> {
    let results = client
        .do_action(Action::new(name, body.encode_to_vec()))
        .await;
    let mut results = results.map_err(Status::from)?;
    let result = results.try_next().await.map_err(Status::from)?;
    Ok(result.expect("one result"))
}

async fn cancel(client: &mut FlightClient, info: FlightInfo) -> Result<CancelStatus, Status> {
    let request = CancelFlightInfoRequest { info: Some(info) };
    let body = act(client, "CancelFlightInfo", request).await?;
    Ok(CancelFlightInfoResult::decode(body)
        .expect("a result")
        .status())
}

async fn info(client: &mut FlightClient, sql: &str) -> FlightInfo {
    client
        .get_flight_info(FlightDescriptor::new_cmd(sql.to_owned()))
        .await
        .expect("planned")
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().expect("a ticket")
}

/// How a stream ends that is read to its end.
async fn end(mut stream: FlightRecordBatchStream) -> Result<(), FlightError> {
    while let Some(batch) = stream.try_next().await? {
        drop(batch);
    }
    Ok(())
}

/// Two million points in a stream, in several commits.
async fn filled() -> Server {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batches = (0..20).map(|part| points(part * 100_000..(part + 1) * 100_000));
    put(&mut client, path(&["lab", "a"]), batches.collect())
        .await
        .expect("a put");
    server
}

/// Waits until nothing is held and nothing is read any more; answers how long that took.
async fn at_rest(server: &Server) -> Duration {
    let begun = Instant::now();
    loop {
        let before = server.backend.counts().points();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let still = server.backend.counts().points() == before;
        if still && server.gateway.memory_bytes() == 0 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
    }
}

#[tokio::test]
async fn cancelling_stops_the_stream_of_another_call() {
    let server = Server::start().await;
    let (mut reader, mut other) = (server.flight().await, server.flight().await);
    let info = info(&mut reader, LONG).await;
    let mut stream = reader.do_get(ticket(&info)).await.expect("a stream");
    stream.try_next().await.expect("rows").expect("a batch");
    let begun = Instant::now();
    let status = cancel(&mut other, info.clone()).await.expect("it runs");
    assert_eq!(status, CancelStatus::Cancelled);
    assert_eq!(failure(end(stream).await).0, Code::Cancelled);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    // It stays cancelled, whoever asks.
    let again = reader.do_get(ticket(&info)).await.map(drop);
    assert_eq!(failure(again).0, Code::Cancelled);
    let status = cancel(&mut other, info).await.expect("known");
    assert_eq!(status, CancelStatus::Cancelled);
}

#[tokio::test]
async fn dropping_or_cancelling_a_stream_frees_work_and_memory_within_a_second() {
    let server = filled().await;
    let (mut reader, mut other) = (server.flight().await, server.flight().await);
    for sql in [
        "SELECT time, value FROM lab.a ORDER BY value DESC, time",
        "SELECT value, count(*) AS n FROM lab.a GROUP BY value",
    ] {
        for cancels in [false, true] {
            let info = info(&mut reader, sql).await;
            let mut stream = reader.do_get(ticket(&info)).await.expect("a stream");
            stream.try_next().await.expect("rows").expect("a batch");
            assert!(
                server.gateway.memory_bytes() > 1 << 20,
                "{sql} holds memory"
            );
            if cancels {
                let status = cancel(&mut other, info).await.expect("it runs");
                assert_eq!(status, CancelStatus::Cancelled);
                // Nobody reads the stream, and it holds nothing all the same.
            } else {
                drop(stream);
            }
            let took = at_rest(&server).await;
            assert!(took < SECOND, "{sql}: {took:?}");
        }
    }
    let calls = server.backend.counts().calls(Operation::Points);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.backend.counts().calls(Operation::Points), calls);
}

#[tokio::test]
async fn what_never_rests_is_stopped_for_its_client_and_holds_up_nobody_else() {
    let settings = ServeSettings {
        statement_timeout: Some(Duration::from_millis(700)),
        ..ServeSettings::default()
    };
    let server = Server::start_with(settings).await;
    let mut others = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = server.flight().await;
        let info = info(&mut reader, RESTLESS).await;
        let begun = Instant::now();
        readers.push(async move {
            let outcome = match reader.do_get(ticket(&info)).await {
                Ok(stream) => end(stream).await,
                Err(error) => Err(error),
            };
            (failure(outcome), begun.elapsed())
        });
        others.push(server.flight().await);
    }
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for other in &mut others {
            let begun = Instant::now();
            rows(other, "SELECT count(*) FROM streams")
                .await
                .expect("rows");
            assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
        }
    };
    let (outcomes, ()) = tokio::join!(futures::future::join_all(readers), meanwhile);
    for ((code, message), took) in outcomes {
        assert_eq!(code, Code::DeadlineExceeded);
        assert!(message.contains("700ms"), "{message}");
        assert!(took < SECOND * 3, "{took:?}");
    }
}

#[tokio::test]
async fn a_statement_has_the_time_that_its_session_or_call_gives_it() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    client
        .add_header("x-btrdb-timeout", "300ms")
        .expect("a header");
    let long = info(&mut client, LONG).await;
    // The ticket carries the limit, which counts from when it is redeemed.
    let mut plain = server.flight().await;
    let begun = Instant::now();
    let stream = plain.do_get(ticket(&long)).await.expect("a stream");
    let (code, message) = failure(end(stream).await);
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(message.contains("300ms"), "{message}");
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
    client
        .add_header("x-btrdb-timeout", "soon")
        .expect("a header");
    let refused = client
        .get_flight_info(FlightDescriptor::new_cmd("SELECT 1"))
        .await;
    assert_eq!(failure(refused).0, Code::InvalidArgument);
}

#[tokio::test]
async fn the_deadline_of_a_call_holds_for_its_stream_too() {
    let server = Server::start().await;
    let mut client = FlightServiceClient::new(server.channel().await);
    let info = info(&mut server.flight().await, LONG).await;
    let mut request = Request::new(ticket(&info));
    request.set_timeout(Duration::from_millis(500));
    let begun = Instant::now();
    let mut stream = client.do_get(request).await.expect("begun").into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has no end"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("500ms"), "{status}");
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
    // An exchange of messages that hangs is ended too.
    let (_open, messages) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut request = Request::new(messages);
    request.set_timeout(Duration::from_millis(400));
    let status = client.do_put(request).await.map(drop).expect_err("hangs");
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_ran_or_cannot_be_found_is_told_apart() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let short = info(&mut client, "SELECT 1").await;
    let stream = client.do_get(ticket(&short)).await.expect("a stream");
    end(stream).await.expect("read");
    let status = cancel(&mut client, short.clone()).await.expect("known");
    assert_eq!(status, CancelStatus::NotCancellable);
    // A ticket that nobody redeemed yet never will be.
    let unread = info(&mut client, "SELECT 2").await;
    let status = cancel(&mut client, unread.clone()).await.expect("known");
    assert_eq!(status, CancelStatus::Cancelled);
    let refused = client.do_get(ticket(&unread)).await.map(drop);
    assert_eq!(failure(refused).0, Code::Cancelled);
    // The catalog is told while it is asked for.
    let catalogs = client
        .get_flight_info(FlightDescriptor::new_cmd(
            CommandGetCatalogs {}.as_any().encode_to_vec(),
        ))
        .await
        .expect("described");
    let status = cancel(&mut client, catalogs).await.expect("known");
    assert_eq!(status, CancelStatus::NotCancellable);
    for bad in [
        FlightInfo::new(),
        FlightInfo::new().with_app_metadata("garbage"),
        tampered(&short),
        FlightInfo::new().with_endpoint(FlightEndpoint::new()),
        FlightInfo::new().with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new("SELECT 1"))),
    ] {
        let error = cancel(&mut client, bad).await.expect_err("not ours");
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
}

/// The same with one bit of its ticket's signature turned.
fn tampered(info: &FlightInfo) -> FlightInfo {
    let mut info = info.clone();
    let mut bytes = ticket(&info).ticket.to_vec();
    *bytes.last_mut().expect("bytes") ^= 1;
    info.endpoint[0].ticket = Some(Ticket::new(bytes));
    info
}

#[tokio::test]
async fn the_deprecated_action_does_the_same() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let info = info(&mut client, LONG).await;
    let mut stream = client.do_get(ticket(&info)).await.expect("a stream");
    stream.try_next().await.expect("rows").expect("a batch");
    let request = ActionCancelQueryRequest {
        info: info.encode_to_vec().into(),
    };
    let mut other = server.flight().await;
    let body = act(&mut other, "CancelQuery", request.as_any())
        .await
        .expect("it runs");
    let any = Any::decode(body).expect("packed");
    let result: ActionCancelQueryResult = any.unpack().expect("decodes").expect("a result");
    assert_eq!(result.result, CancelStatus::Cancelled as i32);
    assert_eq!(failure(end(stream).await).0, Code::Cancelled);
}

#[tokio::test]
async fn an_endpoint_is_renewed_and_reads_the_same() {
    let server = filled().await;
    let mut client = server.flight().await;
    let sql = "SELECT count(*) AS n, max(value) AS top FROM lab.a";
    let old = info(&mut client, sql).await;
    tokio::time::sleep(SECOND + Duration::from_millis(50)).await;
    let renew = async |client: &mut FlightClient, endpoint: FlightEndpoint| {
        let request = RenewFlightEndpointRequest {
            endpoint: Some(endpoint),
        };
        let body = act(client, "RenewFlightEndpoint", request).await?;
        Ok::<_, Status>(FlightEndpoint::decode(body).expect("an endpoint"))
    };
    let new = renew(&mut client, old.endpoint[0].clone())
        .await
        .expect("renewed");
    let expiry = |endpoint: &FlightEndpoint| {
        let expiry = endpoint.expiration_time.as_ref().expect("a time");
        expiry.seconds
    };
    assert!(expiry(&new) > expiry(&old.endpoint[0]));
    let read = async |client: &mut FlightClient, endpoint: &FlightEndpoint| {
        let ticket = endpoint.ticket.clone().expect("a ticket");
        let stream = client.do_get(ticket).await.expect("a stream");
        stream
            .try_collect::<Vec<RecordBatch>>()
            .await
            .expect("rows")
    };
    let first = read(&mut client, &old.endpoint[0]).await;
    assert!(!first[0].column(0).is_empty());
    assert_eq!(read(&mut client, &new).await, first);
    let error = renew(&mut client, tampered(&old).endpoint[0].clone()).await;
    assert_eq!(error.expect_err("forged").code(), Code::InvalidArgument);
    let error = renew(&mut client, FlightEndpoint::new()).await;
    assert_eq!(error.expect_err("no ticket").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_there_is_not_is_refused_with_a_reason() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for (name, word) in [
        ("BeginSavepoint", "savepoints"),
        ("EndSavepoint", "savepoints"),
        ("CreatePreparedSubstraitPlan", "Substrait"),
        ("Dance", "CancelFlightInfo"),
    ] {
        let error = act(&mut client, name, ()).await.expect_err(name);
        assert_eq!(error.code(), Code::Unimplemented, "{error}");
        assert!(error.message().contains(word), "{error}");
    }
    let plan = arrow_flight::sql::CommandStatementSubstraitPlan::default();
    let descriptor = FlightDescriptor::new_cmd(plan.as_any().encode_to_vec());
    let (code, message) = failure(client.get_flight_info(descriptor).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(message.contains("Substrait"), "{message}");
}
