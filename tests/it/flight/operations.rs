//! Actions for the operations of BTrDB that SQL has no words for.

use arrow_flight::Action;
use bytes::Bytes;
use tonic::Code;

use super::*;

/// The JSON that an action answers.
async fn act(
    client: &mut FlightClient,
    action: &str,
    body: &str,
) -> Result<Vec<Value>, FlightError> {
    let action = Action::new(action.to_owned(), Bytes::copy_from_slice(body.as_bytes()));
    client
        .do_action(action)
        .await?
        .map_ok(|body| serde_json::from_slice(&body).expect("JSON"))
        .try_collect()
        .await
}

#[tokio::test]
async fn operations_are_listed_and_answer_json() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let listed: Vec<_> = client
        .list_actions()
        .await
        .expect("a list")
        .try_collect()
        .await
        .expect("actions");
    for action in [
        "btrdb.Info",
        "btrdb.Versions",
        "btrdb.Flush",
        "btrdb.MetadataUsage",
    ] {
        let found = listed.iter().find(|listed| listed.r#type == action);
        let found = found.unwrap_or_else(|| panic!("{action} is not listed"));
        assert!(found.description.contains("Request Message: JSON"));
    }
    let batch = long("pmu/one", &["a", "b"], 0..4);
    put(&mut client, path(&["points"]), vec![batch])
        .await
        .expect("a put");
    put(&mut client, path(&["lab", "a"]), vec![points(0..3)])
        .await
        .expect("a put");
    put(&mut client, path(&["lab", "a"]), vec![points(3..5)])
        .await
        .expect("a put");

    let info = act(&mut client, "btrdb.Info", "").await.expect("an answer");
    assert_eq!(info[0]["server"], "btrdb-flight");
    assert_eq!(info[0]["snapshot"].is_null(), subject::is_loop());

    let versions = act(&mut client, "btrdb.Versions", r#"{"streams": ["lab/a"]}"#)
        .await
        .expect("an answer");
    let versions = versions[0].as_object().expect("an object");
    let (uuid, version) = versions.iter().next().expect("a stream");
    assert_eq!(*version, 12);
    // What is told can be read.
    let pinned = format!("SELECT count(*) FROM lab.\"a@{version}\"");
    put(&mut client, path(&["lab", "a"]), vec![points(5..9)])
        .await
        .expect("a put");
    assert_eq!(number(&mut client, &pinned).await, 5);

    let body = format!(r#"{{"streams": ["{uuid}", "lab/a", "pmu/*", "none/*"]}}"#);
    let flushed = act(&mut client, "btrdb.Flush", &body)
        .await
        .expect("an answer");
    assert_eq!(flushed[0].as_object().expect("an object").len(), 3);
    let none = act(&mut client, "btrdb.Flush", r#"{"streams": []}"#).await;
    assert_eq!(none.expect("an answer"), [serde_json::json!({})]);

    let body = r#"{"collection_prefix": "pmu"}"#;
    let usage = act(&mut client, "btrdb.MetadataUsage", body)
        .await
        .expect("an answer");
    assert_eq!(usage[0]["tags"][0], "name");
    assert_eq!(usage[0]["annotations"], serde_json::json!({}));
    let usage = act(&mut client, "btrdb.MetadataUsage", "{}").await;
    assert_eq!(
        usage.expect("an answer")[0]["tags"]
            .as_array()
            .expect("keys")
            .len(),
        4
    );
}

#[tokio::test]
async fn mistakes_are_told_by_what_the_body_takes() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for (action, body, code, said) in [
        (
            "btrdb.Flush",
            "",
            Code::InvalidArgument,
            "\"streams\" is missing",
        ),
        ("btrdb.Flush", "{", Code::InvalidArgument, "not JSON"),
        (
            "btrdb.Versions",
            r#"{"streams": ["word"]}"#,
            Code::InvalidArgument,
            "\"word\" is no stream",
        ),
        (
            "btrdb.Versions",
            r#"{"streams": ["points"]}"#,
            Code::InvalidArgument,
            "\"points\" is no stream",
        ),
        (
            "btrdb.Versions",
            r#"{"streams": ["no/such"]}"#,
            Code::NotFound,
            "no/such",
        ),
        (
            "btrdb.Info",
            r#"{"verbose": true}"#,
            Code::InvalidArgument,
            "\"verbose\" is no key",
        ),
        ("btrdb.Explode", "", Code::Unimplemented, "btrdb.Flush"),
    ] {
        let (found, message) = failure(act(&mut client, action, body).await);
        assert_eq!(found, code, "{action} {body}: {message}");
        assert!(message.contains(said), "{action} {body}: {message}");
    }
}
