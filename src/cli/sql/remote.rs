//! Statements on a server, over Flight SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementUpdate, DoPutUpdateResult, ProstMessageExt};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::transport::Channel;

use super::statement::{self, Kind};
use super::{Outcome, Rows, unexpected};
use crate::cli::connect::{CredentialArgs, from_flight, from_status};
use crate::error::Result;
use crate::query::SessionOptions;

/// A connection, and what its calls carry: the key, and what `SET` has set so far.
///
/// Settings travel as headers of each call. A transaction would carry them too, but it would also pin every stream to what
/// it held at the first statement.
pub(super) struct Remote {
    client: FlightServiceClient<Channel>,
    headers: BTreeMap<String, String>,
}

/// Settings begin so; `btrdb.merge` travels as `x-btrdb-merge`.
const SETTING_PREFIX: &str = "btrdb.";

impl Remote {
    pub(super) async fn connect(address: &str, credentials: &CredentialArgs) -> Result<Self> {
        let key = credentials.authorization();
        let key = key.map(|(header, value)| (header.to_owned(), value));
        Ok(Self {
            client: credentials.flight_client(address).await?,
            headers: key.into_iter().collect(),
        })
    }

    /// A client that sends what is set now.
    fn client(&self) -> FlightSqlServiceClient<Channel> {
        let mut client = FlightSqlServiceClient::new_from_inner(self.client.clone());
        for (header, value) in &self.headers {
            client.set_header(header, value);
        }
        client
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<Outcome> {
        match statement::kind(sql) {
            Kind::Set { name, value } => self.set(&name, value),
            Kind::Update => self.update(sql).await,
            Kind::Query => self.query(sql).await,
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<Outcome> {
        // Refused here what the server would refuse with the next statement.
        SessionOptions::default().set(name, &value)?;
        let header = name.strip_prefix(SETTING_PREFIX).unwrap_or(name);
        self.headers.insert(format!("x-btrdb-{header}"), value);
        Ok(Outcome::Set)
    }

    async fn query(&mut self, sql: &str) -> Result<Outcome> {
        let info = self
            .client()
            .execute(sql.to_owned(), None)
            .await
            .map_err(from_flight)?;
        let schema: Schema = info.clone().try_decode_schema().map_err(|error| {
            unexpected("the server's schema is not understood").with_source(error)
        })?;
        let requests: Vec<_> = (info.endpoint.into_iter())
            .map(|endpoint| Ok((self.client(), endpoint)))
            .collect();
        let batches = stream::iter(requests)
            .and_then(|(client, endpoint)| fetch(client, endpoint))
            .try_flatten();
        Ok(Outcome::Rows(Rows {
            schema: Arc::new(schema),
            batches: batches.boxed(),
        }))
    }

    async fn update(&mut self, sql: &str) -> Result<Outcome> {
        let command = CommandStatementUpdate {
            query: sql.to_owned(),
            transaction_id: None,
        };
        let message = FlightData {
            flight_descriptor: Some(FlightDescriptor::new_cmd(command.as_any().encode_to_vec())),
            ..FlightData::default()
        };
        let mut answers = self
            .client()
            .do_put(stream::iter([message]))
            .await
            .map_err(from_flight)?;
        let mut total = None;
        while let Some(answer) = answers
            .message()
            .await
            .map_err(|status| from_status(&status))?
        {
            let result = DoPutUpdateResult::decode(answer.app_metadata).map_err(|error| {
                unexpected("the server's answer is not understood").with_source(error)
            })?;
            // -1 says that the server does not know.
            if let Ok(count) = u64::try_from(result.record_count) {
                total = Some(total.unwrap_or(0) + count);
            }
        }
        Ok(Outcome::Changed(total))
    }
}

/// The rows of one endpoint, which must be on the server that named it.
async fn fetch(
    mut client: FlightSqlServiceClient<Channel>,
    endpoint: FlightEndpoint,
) -> Result<impl futures::Stream<Item = Result<arrow::array::RecordBatch>>> {
    let ticket = endpoint
        .ticket
        .ok_or_else(|| unexpected("the server named an endpoint without a ticket"))?;
    let batches = client.do_get(ticket).await.map_err(from_flight)?;
    Ok(batches.map_err(from_flight))
}
