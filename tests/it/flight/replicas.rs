//! Two gateways before one BTrDB: what one gives out, the other takes.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, ProstMessageExt,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, FlightEndpoint, RenewFlightEndpointRequest, Ticket,
};
use btrdb_flight::engine::Engine;
use bytes::Bytes;
use prost::Message;
use tonic::Code;

use super::*;

fn keyed(key: u8) -> ServeSettings {
    ServeSettings {
        ticket_key: Some([key; 32]),
        ..ServeSettings::default()
    }
}

/// Two gateways with one key, and one with another, all before one BTrDB.
async fn gateways() -> [Server; 3] {
    let engine = Engine::memory();
    let mut servers = Vec::new();
    for key in [1, 1, 2] {
        let (remote, _) = subject::looped(Arc::clone(&engine)).await;
        servers.push(Server::over(remote, keyed(key)).await);
    }
    servers.try_into().unwrap_or_else(|_| panic!("three"))
}

async fn redeem(server: &Server, ticket: Ticket) -> Result<i64, FlightError> {
    let mut client = server.flight().await;
    let stream = client.do_get(ticket).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

#[tokio::test]
async fn a_ticket_with_the_pins_of_a_transaction_reads_the_same_anywhere() {
    let [first, second, stranger] = gateways().await;
    let mut writer = first.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let mut client = first.sql().await;
    let transaction = client.begin_transaction().await.expect("begun");
    let sql = "SELECT count(*) FROM lab.a";
    let mut asked = async || {
        let info = client
            .execute(sql.to_owned(), Some(transaction.clone()))
            .await
            .expect("planned");
        info.endpoint[0].ticket.clone().expect("a ticket")
    };
    // The first read pins the stream.
    let ticket = asked().await;
    assert_eq!(redeem(&first, ticket).await.expect("read"), 10);
    put(&mut writer, path(&["lab", "a"]), vec![points(10..25)])
        .await
        .expect("a put");
    let ticket = asked().await;
    for server in [&second, &first, &second] {
        assert_eq!(redeem(server, ticket.clone()).await.expect("read"), 10);
    }
    let mut now = second.flight().await;
    assert_eq!(number(&mut now, sql).await, 25);
    let (code, message) = failure(redeem(&stranger, ticket).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("shares its key"), "{message}");
}

#[tokio::test]
async fn a_prepared_statement_is_bound_at_one_gateway_and_executed_at_the_other() {
    let [first, second, stranger] = gateways().await;
    let mut writer = second.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let request = ActionCreatePreparedStatementRequest {
        query: "SELECT count(*) FROM lab.a WHERE value >= $1".to_owned(),
        transaction_id: None,
    };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let mut client = first.flight().await;
    let mut results = client.do_action(action).await.expect("prepared");
    let body = results.try_next().await.expect("an answer").expect("one");
    let prepared: ActionCreatePreparedStatementResult = Any::decode(body)
        .expect("packed")
        .unpack()
        .expect("decodes")
        .expect("a result");
    let handle = prepared.prepared_statement_handle;
    let descriptor = |handle: &Bytes| {
        let command = CommandPreparedStatementQuery {
            prepared_statement_handle: handle.clone(),
        };
        FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
    };
    let row = RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(vec![4])) as ArrayRef)]);
    let row = row.expect("a row");
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor(&handle)))
        .with_schema(row.schema())
        .build(futures::stream::iter([Ok(row)]));
    let mut bound = second
        .flight()
        .await
        .do_put(data)
        .await
        .expect("bound elsewhere");
    let result = bound.try_next().await.expect("an answer").expect("one");
    let result = arrow_flight::sql::DoPutPreparedStatementResult::decode(result.app_metadata);
    let bound = result.expect("a handle").prepared_statement_handle;
    let bound = bound.expect("a new handle");
    let info = first
        .flight()
        .await
        .get_flight_info(descriptor(&bound))
        .await
        .expect("planned at the first");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    assert_eq!(redeem(&second, ticket).await.expect("read"), 6);
    let refused = stranger
        .flight()
        .await
        .get_flight_info(descriptor(&bound))
        .await;
    assert_eq!(failure(refused).0, Code::InvalidArgument);
}

#[tokio::test]
async fn what_another_gateway_runs_is_not_pretended_to_be_cancelled() {
    let [first, second, stranger] = gateways().await;
    let mut client = first.flight().await;
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd("SELECT 1 AS n"))
        .await
        .expect("planned");
    let cancel = async |server: &Server| {
        let request = CancelFlightInfoRequest {
            info: Some(info.clone()),
        };
        let action = Action::new("CancelFlightInfo", request.encode_to_vec());
        let mut client = server.flight().await;
        let mut results = client.do_action(action).await?;
        results.try_next().await.map(drop)
    };
    let (code, message) = failure(cancel(&second).await);
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("another"), "{message}");
    assert_eq!(failure(cancel(&stranger).await).0, Code::InvalidArgument);
    cancel(&first).await.expect("its own");
    // The endpoint is renewed by any of them.
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd("SELECT 7 AS n"))
        .await
        .expect("planned");
    let request = RenewFlightEndpointRequest {
        endpoint: Some(info.endpoint[0].clone()),
    };
    let action = Action::new("RenewFlightEndpoint", request.encode_to_vec());
    let mut results = second
        .flight()
        .await
        .do_action(action)
        .await
        .expect("renewed");
    let body = results.try_next().await.expect("an answer").expect("one");
    let renewed = FlightEndpoint::decode(body).expect("an endpoint");
    let ticket = renewed.ticket.expect("a ticket");
    assert_eq!(redeem(&first, ticket).await.expect("read"), 7);
}
