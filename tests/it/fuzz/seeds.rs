//! What clients send: one of each.

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionEndTransactionRequest, Any, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, ProstMessageExt,
};
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;

use super::send::{Target, batch, payload, payload_of_ticket};
use super::{Input, Kind};

/// Statements of every kind, that cost little.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT time, value FROM \"pmu/west\".\"voltage\" WHERE time >= '1970-01-01T00:00:05Z' ORDER BY time DESC LIMIT 5",
    "SELECT date_bin(INTERVAL '1 second', time) AS t, avg(value), count(*) FROM points WHERE name = 'voltage' GROUP BY t ORDER BY t",
    "SELECT uuid, collection, tags, annotations, point_count FROM streams WHERE collection LIKE 'pmu/%'",
    "SELECT * FROM windows('pmu/west/voltage', INTERVAL '1 second')",
    "SELECT * FROM aligned_windows('pmu/west/voltage@11', 30) WHERE min > 1",
    "SELECT * FROM multi_values('pmu/west/voltage', 'pmu/west/angle') LIMIT 3",
    "SELECT * FROM nearest('pmu/west/voltage', '1970-01-01T00:00:05Z', true)",
    "SELECT * FROM changes('pmu/west/voltage', 10, 11, 20)",
    "SELECT s.name, max(p.value) FROM points p JOIN streams s ON p.uuid = s.uuid GROUP BY s.name HAVING max(p.value) > 3",
    "SELECT count(*) FROM \"pmu/east\".\"voltage\" WHERE value > 3 AND value < (SELECT avg(value) FROM raw_values('pmu/west/angle'))",
    "SELECT $1 + 1, $2 FROM collections",
    "SELECT ? + 1, ? FROM collections",
    "EXPLAIN SELECT min(time), max(time) FROM raw_values('pmu/west/voltage')",
    "INSERT INTO points (uuid, time, value) VALUES ('00000000-0000-0000-0000-000000000001', '1970-01-02T00:00:00Z', 1.5)",
    "INSERT INTO \"pmu/west\".\"angle\" VALUES ('1970-01-02T00:00:00Z', 2), ('1970-01-03T00:00:00Z', 3)",
    "INSERT INTO streams (collection, name, unit) VALUES ('pmu/new', 'power', 'W')",
    "UPDATE streams SET unit = 'kV' WHERE name = 'voltage' AND property_version = 1",
    "DELETE FROM points WHERE collection = 'pmu/west' AND time < '1970-01-01T00:00:01Z'",
    "DELETE FROM streams WHERE name = 'power'",
    "SET btrdb.merge = 'replace'",
    "SHOW TABLES",
    "SHOW btrdb.pushdown",
    "SELECT table_schema, table_name, data_type FROM information_schema.columns ORDER BY 1, 2",
];

/// One of each, for `target`; statements in the words of SQL alone if `text`.
pub(super) fn all(target: &Target, text: bool) -> Vec<Input> {
    let mut inputs: Vec<Input> = STATEMENTS
        .iter()
        .map(|sql| descriptor(FlightDescriptor::new_cmd(sql.as_bytes().to_vec())))
        .collect();
    if text {
        return inputs;
    }
    for path in [
        &["pmu/west", "voltage"][..],
        &["00000000-0000-0000-0000-000000000001"],
        &["points"],
        &["a"],
        &[],
    ] {
        inputs.push(descriptor(path_of(path)));
    }
    inputs.extend(commands().into_iter().map(|any| descriptor(command(&any))));
    inputs.extend(commands().into_iter().map(|any| {
        let ticket = any.encode_to_vec().into();
        Input::new(Kind::Ticket, vec![Ticket { ticket }.encode_to_vec()])
    }));
    for expression in [
        "",
        "pmu/",
        "{\"collection\": \"pmu/west\", \"name\": \"angle\"}",
    ] {
        let criteria = Criteria {
            expression: expression.into(),
        };
        inputs.push(Input::new(Kind::Criteria, vec![criteria.encode_to_vec()]));
    }
    target.block_on(signed(target, &mut inputs));
    target.block_on(actions(target, &mut inputs));
    target.block_on(puts(&mut inputs));
    inputs
}

fn descriptor(descriptor: FlightDescriptor) -> Input {
    Input::new(Kind::Descriptor, vec![descriptor.encode_to_vec()])
}

fn path_of(parts: &[&str]) -> FlightDescriptor {
    FlightDescriptor::new_path(parts.iter().map(|part| (*part).to_owned()).collect())
}

fn command(any: &Any) -> FlightDescriptor {
    FlightDescriptor::new_cmd(any.encode_to_vec())
}

/// Commands of Flight SQL that a descriptor can carry.
fn commands() -> Vec<Any> {
    let text = |text: &str| Some(text.to_owned());
    vec![
        CommandStatementQuery {
            query: STATEMENTS[1].to_owned(),
            transaction_id: Some(Bytes::from_static(&[1; 16])),
        }
        .as_any(),
        CommandGetCatalogs {}.as_any(),
        CommandGetDbSchemas {
            catalog: text("btrdb"),
            db_schema_filter_pattern: text("pmu%"),
        }
        .as_any(),
        CommandGetTables {
            catalog: text(""),
            db_schema_filter_pattern: text("pmu/_est"),
            table_name_filter_pattern: text("%"),
            table_types: vec!["TABLE".to_owned()],
            include_schema: true,
        }
        .as_any(),
        CommandGetTableTypes {}.as_any(),
        CommandGetSqlInfo {
            info: vec![0, 8, 500],
        }
        .as_any(),
        CommandGetXdbcTypeInfo { data_type: Some(8) }.as_any(),
        CommandGetPrimaryKeys {
            catalog: None,
            db_schema: text("public"),
            table: "streams".to_owned(),
        }
        .as_any(),
        CommandGetExportedKeys {
            catalog: None,
            db_schema: None,
            table: "points".to_owned(),
        }
        .as_any(),
        CommandGetImportedKeys {
            catalog: None,
            db_schema: None,
            table: "points".to_owned(),
        }
        .as_any(),
        CommandGetCrossReference {
            pk_catalog: None,
            pk_db_schema: None,
            pk_table: "streams".to_owned(),
            fk_catalog: None,
            fk_db_schema: None,
            fk_table: "points".to_owned(),
        }
        .as_any(),
    ]
}

/// Tickets and handles that the server gave out.
async fn signed(target: &Target, inputs: &mut Vec<Input>) {
    let mut client = target.flight();
    for sql in STATEMENTS {
        let descriptor = FlightDescriptor::new_cmd(sql.as_bytes().to_vec());
        if let Ok(info) = client.get_flight_info(descriptor).await {
            for endpoint in info.into_inner().endpoint {
                let ticket = endpoint.ticket.unwrap_or_default();
                if let Some(payload) = payload_of_ticket(&ticket) {
                    inputs.push(Input::new(Kind::SealedTicket, vec![payload]));
                }
                inputs.push(Input::new(Kind::Ticket, vec![ticket.encode_to_vec()]));
            }
        }
        let request = ActionCreatePreparedStatementRequest {
            query: (*sql).to_owned(),
            transaction_id: None,
        };
        let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
        let Ok(results) = client.do_action(action).await else {
            continue;
        };
        let results: Vec<_> = results.into_inner().try_collect().await.expect("prepared");
        let any = Any::decode(results[0].body.clone()).expect("an answer");
        let result: ActionCreatePreparedStatementResult =
            any.unpack().expect("an answer").expect("of this type");
        let handle = result.prepared_statement_handle;
        inputs.push(Input::new(Kind::SealedHandle, vec![payload(&handle)]));
        let query = CommandPreparedStatementQuery {
            prepared_statement_handle: handle.clone(),
        };
        inputs.push(descriptor_of(&query.as_any()));
        let close = ActionClosePreparedStatementRequest {
            prepared_statement_handle: handle,
        };
        inputs.push(action_of(
            "ClosePreparedStatement",
            close.as_any().encode_to_vec(),
        ));
    }
}

fn descriptor_of(any: &Any) -> Input {
    descriptor(command(any))
}

fn action_of(name: &str, body: Vec<u8>) -> Input {
    let action = Action::new(name, body);
    Input::new(Kind::Action, vec![action.encode_to_vec()])
}

/// Every action that the server says it has, with a body where one is known.
async fn actions(target: &Target, inputs: &mut Vec<Input>) {
    let mut client = target.flight();
    let listed = client.list_actions(Empty {}).await.expect("listed");
    let listed: Vec<_> = listed.into_inner().try_collect().await.expect("listed");
    assert!(!listed.is_empty(), "there are actions");
    for action in listed {
        inputs.push(action_of(&action.r#type, Vec::new()));
        inputs.push(action_of(
            &action.r#type,
            b"{\"streams\": [\"pmu/west/voltage\"]}".to_vec(),
        ));
    }
    let begin = ActionBeginTransactionRequest {};
    inputs.push(action_of(
        "BeginTransaction",
        begin.as_any().encode_to_vec(),
    ));
    let end = ActionEndTransactionRequest {
        transaction_id: Bytes::from_static(&[1; 16]),
        action: 1,
    };
    inputs.push(action_of("EndTransaction", end.as_any().encode_to_vec()));
    let prepare = ActionCreatePreparedStatementRequest {
        query: STATEMENTS[2].to_owned(),
        transaction_id: None,
    };
    inputs.push(action_of(
        "CreatePreparedStatement",
        prepare.as_any().encode_to_vec(),
    ));
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd("SELECT 1"))
        .await
        .expect("planned")
        .into_inner();
    // CancelFlightInfoRequest { info }: its only field is the message.
    let mut request = vec![0x0a];
    prost::encoding::encode_varint(info.encoded_len() as u64, &mut request);
    request.extend(info.encode_to_vec());
    inputs.push(action_of("CancelFlightInfo", request));
    if let Some(endpoint) = info.endpoint.first() {
        let mut request = vec![0x0a];
        prost::encoding::encode_varint(endpoint.encoded_len() as u64, &mut request);
        request.extend(endpoint.encode_to_vec());
        inputs.push(action_of("RenewFlightEndpoint", request));
    }
}

/// Puts of every form, and exchanges.
async fn puts(inputs: &mut Vec<Input>) {
    let ingest = CommandStatementIngest {
        table: "points".to_owned(),
        schema: Some("public".to_owned()),
        ..CommandStatementIngest::default()
    };
    let update = CommandStatementUpdate {
        query: STATEMENTS[13].to_owned(),
        transaction_id: None,
    };
    let prepared = CommandPreparedStatementUpdate {
        prepared_statement_handle: Bytes::from_static(b"not one"),
    };
    for (target, long) in [
        (path_of(&["pmu/west", "voltage"]), false),
        (path_of(&["points"]), true),
        (command(&ingest.as_any()), true),
        (command(&update.as_any()), false),
        (command(&prepared.as_any()), false),
    ] {
        inputs.push(Input::new(Kind::Put, messages(target, long).await));
    }
    for target in [
        path_of(&["pmu/west", "voltage"]),
        FlightDescriptor::new_cmd(
            "SELECT time, value FROM points WHERE name = 'voltage' AND value > 3",
        ),
    ] {
        let first = FlightData::new().with_descriptor(target.clone());
        inputs.push(Input::new(Kind::Exchange, vec![first.encode_to_vec()]));
        inputs.push(Input::new(Kind::Exchange, messages(target, false).await));
    }
}

async fn messages(target: FlightDescriptor, long: bool) -> Vec<Vec<u8>> {
    let batch = batch(long);
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(target))
        .with_schema(batch.schema())
        .build(stream::iter([Ok(batch.clone()), Ok(batch)]))
        .map(|message| message.expect("encoded").encode_to_vec())
        .collect()
        .await
}
