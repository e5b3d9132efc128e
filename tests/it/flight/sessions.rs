//! Sessions: cookies, options, settings and transactions of SQL text.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightInfo};
use bytes::Bytes;
use prost::{Message, Oneof};
use tonic::{Code, Request, Response, Status};

use super::*;

/// The protocol's messages, which arrow-flight does not have.
#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Errors {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;

/// A client that keeps cookies, as JDBC's does, or one that does not.
struct Client {
    client: FlightServiceClient<Channel>,
    keeps: bool,
    cookie: Option<String>,
    warning: Option<String>,
}

impl Client {
    async fn of(server: &Server, keeps: bool) -> Self {
        Self {
            client: FlightServiceClient::new(server.channel().await),
            keeps,
            cookie: None,
            warning: None,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(cookie) = &self.cookie {
            let value = format!("other=1; {cookie}").parse().expect("ascii");
            request.metadata_mut().insert("cookie", value);
        }
        request
    }

    fn received<T>(&mut self, answer: Result<Response<T>, Status>) -> Result<T, Status> {
        let headers = match &answer {
            Ok(response) => response.metadata(),
            Err(status) => status.metadata(),
        };
        let text = |name: &str| {
            let value = headers.get(name)?;
            Some(value.to_str().expect("ascii").to_owned())
        };
        self.warning = text("x-btrdb-warning");
        if self.keeps
            && let Some(cookie) = text("set-cookie")
        {
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(cookie);
        }
        answer.map(Response::into_inner)
    }

    async fn info(&mut self, sql: &str) -> Result<FlightInfo, Status> {
        let request = self.request(FlightDescriptor::new_cmd(sql.to_owned()));
        let answer = self.client.get_flight_info(request).await;
        self.received(answer)
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<RecordBatch>, Status> {
        let info = self.info(sql).await?;
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let request = self.request(ticket);
        let answer = self.client.do_get(request).await;
        let messages = self.received(answer)?.map_err(FlightError::from);
        let batches = FlightRecordBatchStream::new_from_flight_data(messages);
        batches.try_collect().await.map_err(Status::from)
    }

    /// The value that SHOW tells.
    async fn shown(&mut self, name: &str) -> Result<String, Status> {
        let batches = self.rows(&format!("SHOW {name}")).await?;
        Ok(batches[0].column(1).as_string::<i32>().value(0).to_owned())
    }

    async fn act(&mut self, name: &str, body: impl Message) -> Result<Bytes, Status> {
        let action = Action::new(name, body.encode_to_vec());
        let answer = self.client.do_action(self.request(action)).await;
        let mut results = self.received(answer)?;
        Ok(results.message().await?.expect("one result").body)
    }

    async fn set(
        &mut self,
        options: &[(&str, Option<Value>)],
    ) -> Result<Vec<(String, i32)>, Status> {
        let options = options
            .iter()
            .map(|(name, value)| {
                let value = OptionValue {
                    value: value.clone(),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        let body = self.act("SetSessionOptions", Options { options }).await?;
        let errors = Errors::decode(body).expect("a result").errors;
        let mut errors: Vec<_> = errors
            .into_iter()
            .map(|(name, error)| (name, error.value))
            .collect();
        errors.sort();
        Ok(errors)
    }

    async fn get(&mut self) -> Result<HashMap<String, OptionValue>, Status> {
        let body = self.act("GetSessionOptions", ()).await?;
        Ok(Options::decode(body).expect("a result").options)
    }
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.to_owned()))
}

async fn filled(settings: ServeSettings) -> Server {
    let server = Server::start_with(settings).await;
    let mut client = server.flight().await;
    for (name, count) in [("a", 10), ("b", 20)] {
        put(&mut client, path(&["lab", name]), vec![points(0..count)])
            .await
            .expect("a put");
    }
    server
}

#[tokio::test]
async fn settings_last_for_clients_that_keep_cookies() {
    let server = filled(ServeSettings::default()).await;
    let mut client = Client::of(&server, true).await;
    // Whether it keeps cookies shows with its second call.
    let refused = client.rows("SET btrdb.merge = replace").await;
    let refused = refused.expect_err("nobody knows yet");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("x-btrdb-merge"), "{refused}");
    client.rows("SET btrdb.merge = replace").await.expect("set");
    assert_eq!(client.shown("btrdb.merge").await.expect("shown"), "replace");
    client.rows("RESET btrdb.merge").await.expect("reset");
    assert_eq!(client.shown("btrdb.merge").await.expect("shown"), "never");
    let error = client.rows("SET btrdb.merge = perhaps").await;
    assert_eq!(error.expect_err("no policy").code(), Code::InvalidArgument);
    // Another client has another session, and one without cookies none.
    client
        .rows("SET btrdb.pushdown = false")
        .await
        .expect("set");
    let mut other = Client::of(&server, true).await;
    for _ in 0..2 {
        assert_eq!(other.shown("btrdb.pushdown").await.expect("shown"), "true");
    }
    let mut forgetful = Client::of(&server, false).await;
    for _ in 0..3 {
        let refused = forgetful.rows("SET btrdb.merge = replace").await;
        let refused = refused.expect_err("it would be forgotten");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("cookie"), "{refused}");
    }
    assert_eq!(
        client.shown("btrdb.pushdown").await.expect("shown"),
        "false"
    );
}

#[tokio::test]
async fn options_are_set_and_told_by_actions() {
    let server = filled(ServeSettings::default()).await;
    let mut client = Client::of(&server, true).await;
    // As drivers do when they connect: without a cookie yet.
    let errors = client
        .set(&[
            ("catalog", text("btrdb")),
            ("schema", text("lab")),
            ("btrdb.pushdown", Some(Value::Bool(false))),
            ("btrdb.timeout", Some(Value::Int(60_000))),
        ])
        .await
        .expect("an answer");
    assert_eq!(errors, []);
    let options = client.get().await.expect("a session");
    let told = |name: &str| options[name].value.clone().expect("a value");
    assert_eq!(options.len(), 5);
    assert_eq!(told("catalog"), Value::Text("btrdb".to_owned()));
    assert_eq!(told("schema"), Value::Text("lab".to_owned()));
    assert_eq!(told("btrdb.pushdown"), Value::Bool(false));
    assert_eq!(told("btrdb.merge"), Value::Text("never".to_owned()));
    assert_eq!(told("btrdb.timeout"), Value::Text("60000ms".to_owned()));
    // Each option is set or not, whatever the others are.
    let errors = client
        .set(&[
            ("catalog", text("other")),
            ("schema", Some(Value::Int(1))),
            ("btrdb.merge", text("retain")),
            ("btrdb.timeout", Some(Value::Double(1.0))),
            ("colour", text("red")),
        ])
        .await
        .expect("an answer");
    let expected = [
        ("btrdb.timeout", INVALID_VALUE),
        ("catalog", INVALID_VALUE),
        ("colour", INVALID_NAME),
        ("schema", INVALID_VALUE),
    ];
    assert_eq!(
        errors,
        expected.map(|(name, error)| (name.to_owned(), error))
    );
    assert_eq!(client.shown("btrdb.merge").await.expect("shown"), "retain");
    // An option without a value is cleared.
    let errors = client.set(&[("btrdb.merge", None)]).await;
    assert_eq!(errors.expect("an answer"), []);
    assert_eq!(client.shown("btrdb.merge").await.expect("shown"), "never");
}

#[tokio::test]
async fn names_that_stand_alone_are_looked_up_in_the_schema_of_the_session() {
    let server = filled(ServeSettings::default()).await;
    let mut client = Client::of(&server, true).await;
    client.set(&[("schema", text("lab"))]).await.expect("set");
    for (sql, expected) in [
        ("SELECT count(*) FROM a", 10),
        ("SELECT count(*) FROM \"b\"", 20),
        ("SELECT count(*) FROM lab.a", 10),
        ("SELECT count(*) FROM points", 30),
        ("SELECT count(*) FROM streams", 2),
        ("WITH a AS (SELECT 1) SELECT count(*) FROM a", 1),
    ] {
        let batches = client.rows(sql).await.expect(sql);
        let count = batches[0]
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .value(0);
        assert_eq!(count, expected, "{sql}");
    }
    let unknown = client.rows("SELECT * FROM c").await.expect_err("no stream");
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("lab/c"), "{unknown}");
}

#[tokio::test]
async fn a_client_without_cookies_is_told_what_holds_for_it() {
    let server = filled(ServeSettings::default()).await;
    let mut client = Client::of(&server, false).await;
    let told = client.get().await.expect("the defaults");
    assert_eq!(told["catalog"].value, text("btrdb"));
    assert_eq!(told["schema"].value, text("public"));
    assert_eq!(told["btrdb.merge"].value, text("never"));
    client
        .act("CloseSession", ())
        .await
        .expect("nothing to close");
    // The only catalog can be named by anybody.
    let errors = client.set(&[("catalog", text("btrdb"))]).await;
    assert_eq!(errors.expect("an answer"), []);
}

#[tokio::test]
async fn a_session_that_is_gone_says_so_once_and_the_client_begins_anew() {
    let settings = ServeSettings {
        session_idle_max: Duration::from_millis(300),
        ..ServeSettings::default()
    };
    let server = filled(settings).await;
    let mut client = Client::of(&server, true).await;
    client.set(&[("schema", text("lab"))]).await.expect("set");
    let kept = client.cookie.clone();
    client.rows("SELECT * FROM a").await.expect("looked up");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let gone = client.rows("SELECT * FROM streams").await;
    assert_eq!(gone.expect_err("idle").code(), Code::NotFound);
    assert_eq!(client.cookie, None, "it is told to forget");
    client.rows("SELECT * FROM streams").await.expect("anew");
    // The cookie of a closed session, or of another server, is no session here.
    client.set(&[("schema", text("lab"))]).await.expect("set");
    let closed = client.cookie.clone();
    client.act("CloseSession", ()).await.expect("closed");
    assert_eq!(client.cookie, None);
    let other = filled(ServeSettings::default()).await;
    let mut stranger = Client::of(&other, true).await;
    stranger.set(&[("schema", text("lab"))]).await.expect("set");
    for cookie in [kept, closed, stranger.cookie] {
        client.cookie = cookie;
        let gone = client.rows("SELECT * FROM streams").await;
        assert_eq!(gone.expect_err("no session").code(), Code::NotFound);
    }
    client.cookie = Some("arrow_flight_session_id=s-AAAA".to_owned());
    let forged = client.rows("SELECT * FROM streams").await;
    assert_eq!(forged.expect_err("forged").code(), Code::NotFound);
    client.cookie = Some("arrow_flight_session_id=something-else".to_owned());
    client
        .rows("SELECT * FROM streams")
        .await
        .expect("not ours");
}

#[tokio::test]
async fn sessions_are_bounded() {
    let settings = ServeSettings {
        session_count_max: 2,
        ..ServeSettings::default()
    };
    let server = filled(settings).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::of(&server, true).await;
        client.set(&[("schema", text("lab"))]).await.expect("room");
        clients.push(client);
    }
    let mut late = Client::of(&server, true).await;
    let full = late.set(&[("schema", text("lab"))]).await;
    assert_eq!(full.expect_err("full").code(), Code::ResourceExhausted);
    clients[0].act("CloseSession", ()).await.expect("closed");
    late.set(&[("schema", text("lab"))]).await.expect("room");
}

#[tokio::test]
async fn transactions_of_text_read_one_state() {
    let server = filled(ServeSettings::default()).await;
    let mut writer = server.flight().await;
    let mut client = Client::of(&server, true).await;
    let count = async |client: &mut Client| {
        let batches = client
            .rows("SELECT count(*) FROM lab.a")
            .await
            .expect("rows");
        batches[0]
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .value(0)
    };
    let refused = client.rows("BEGIN").await.expect_err("no cookie yet");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("cookies"), "{refused}");
    let nothing = client.rows("COMMIT").await.expect_err("nothing to end");
    assert_eq!(nothing.code(), Code::InvalidArgument);
    client.rows("BEGIN TRANSACTION").await.expect("begun");
    assert_eq!(count(&mut client).await, 10);
    put(&mut writer, path(&["lab", "a"]), vec![points(10..15)])
        .await
        .expect("a put");
    assert_eq!(count(&mut client).await, 10);
    client.rows("BEGIN").await.expect_err("one at a time");
    // What is set inside lasts as long as it.
    client
        .rows("SET btrdb.pushdown = false")
        .await
        .expect("set");
    assert_eq!(
        client.shown("btrdb.pushdown").await.expect("shown"),
        "false"
    );
    client.rows("COMMIT").await.expect("committed");
    assert_eq!(client.shown("btrdb.pushdown").await.expect("shown"), "true");
    assert_eq!(count(&mut client).await, 15);
    client
        .rows("START TRANSACTION READ ONLY")
        .await
        .expect("begun");
    assert_eq!(count(&mut client).await, 15);
    let write = "INSERT INTO lab.a VALUES (to_timestamp_nanos(1), 1)";
    let refused = client.rows(write).await.expect_err("read only");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    client.rows("ROLLBACK").await.expect("rolled back");
    assert_eq!(client.warning, None, "nothing was written");
    client.rows("ROLLBACK").await.expect_err("nothing to end");
}

#[tokio::test]
async fn a_transaction_of_text_that_is_gone_can_still_be_rolled_back() {
    let settings = ServeSettings {
        transaction_idle_max: Duration::from_millis(200),
        ..ServeSettings::default()
    };
    let server = filled(settings).await;
    let mut client = Client::of(&server, true).await;
    client.rows("SELECT 1").await.expect("offered");
    client.rows("BEGIN").await.expect("begun");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for sql in ["SELECT 1", "COMMIT"] {
        let gone = client.rows(sql).await.expect_err("idle too long");
        assert_eq!(gone.code(), Code::NotFound, "{sql}");
    }
    client.rows("ROLLBACK").await.expect("rolled back");
    client.rows("SELECT 1").await.expect("outside");
}

#[tokio::test]
async fn text_does_not_end_a_transaction_that_a_call_began() {
    let server = filled(ServeSettings::default()).await;
    let mut client = server.sql().await;
    let transaction = client.begin_transaction().await.expect("begun");
    for sql in ["COMMIT", "ROLLBACK", "BEGIN"] {
        let error = client
            .execute(sql.to_owned(), Some(transaction.clone()))
            .await
            .expect_err(sql);
        assert!(error.to_string().contains("transaction"), "{error}");
    }
}
