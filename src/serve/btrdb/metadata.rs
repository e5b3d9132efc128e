//! What streams are called, and what is said of them.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;

use super::Shared;
use super::answer::{Groups, Messages, or_else};
use super::writes::only;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::check_collection;
use crate::model::{
    AnnotationUpdate, CollectionMatch, Snapshot, StreamDescriptor, StreamFilter, TagKey, TagUpdate,
};
use crate::wire::proto::{
    CreateParams, CreateResponse, KeyCount, KeyOptValue, ListCollectionsParams,
    ListCollectionsResponse, LookupStreamsParams, LookupStreamsResponse, MetadataUsageParams,
    MetadataUsageResponse, SetStreamAnnotationsParams, SetStreamAnnotationsResponse,
    SetStreamTagsParams, SetStreamTagsResponse, SqlQueryParams, SqlQueryResponse,
    StreamDescriptor as Descriptor, StreamInfoParams, StreamInfoResponse,
};
use crate::wire::streams;

/// Descriptors of one message.
const MESSAGE_DESCRIPTORS: usize = 200;

/// Collections of one message.
const MESSAGE_COLLECTIONS: usize = 1000;

impl Shared {
    pub(super) async fn stream_info(
        &self,
        params: &StreamInfoParams,
    ) -> Result<StreamInfoResponse> {
        let id = streams::id(&params.uuid)?;
        if params.omit_version && params.omit_descriptor {
            return Err(
                Error::invalid("you cannot omit descriptor and version").with_code(Code::WrongArgs)
            );
        }
        let descriptor = if params.omit_descriptor {
            Descriptor {
                uuid: streams::uuid(id),
                ..Descriptor::default()
            }
        } else {
            let described = self.backend().describe(&[id]).await?;
            let described = described
                .first()
                .ok_or_else(|| Error::internal("the backend told nothing of a stream"))?;
            streams::descriptor(described)
        };
        let version_major = if params.omit_version {
            0
        } else {
            let versions = self.backend().versions(&[id], Snapshot::Latest).await?;
            only(&versions)?.0
        };
        Ok(StreamInfoResponse {
            stat: None,
            version_major,
            version_minor: 0,
            descriptor: Some(descriptor),
        })
    }

    pub(super) async fn create(&self, params: CreateParams) -> Result<CreateResponse> {
        let id = streams::id(&params.uuid)?;
        // The backend checks this too, but it is to be told before a tag that there is not.
        check_collection(&params.collection)?;
        let stream = StreamDescriptor {
            id,
            collection: params.collection,
            tags: streams::into_tags(params.tags)?,
            annotations: streams::into_annotations(params.annotations),
            property_version: 1,
        };
        self.backend().create(stream).await?;
        Ok(CreateResponse { stat: None })
    }

    pub(super) async fn set_stream_tags(
        &self,
        params: SetStreamTagsParams,
    ) -> Result<SetStreamTagsResponse> {
        let stream = streams::id(&params.uuid)?;
        let mut tags = Vec::with_capacity(params.tags.len() + params.remove.len());
        for (key, value) in tag_conditions(params.tags)? {
            tags.push((key, value.unwrap_or_default()));
        }
        for key in &params.remove {
            tags.push((key.parse()?, String::new()));
        }
        let update = TagUpdate {
            stream,
            expected: expected(params.expected_property_version),
            collection: (!params.collection.is_empty()).then_some(params.collection),
            tags,
        };
        self.backend().set_tags(update).await?;
        Ok(SetStreamTagsResponse { stat: None })
    }

    pub(super) async fn set_stream_annotations(
        &self,
        params: SetStreamAnnotationsParams,
    ) -> Result<SetStreamAnnotationsResponse> {
        let update = AnnotationUpdate {
            stream: streams::id(&params.uuid)?,
            expected: expected(params.expected_property_version),
            changes: streams::into_annotations(params.changes),
            removals: params.removals,
        };
        self.backend().set_annotations(update).await?;
        Ok(SetStreamAnnotationsResponse { stat: None })
    }

    pub(super) async fn list_collections(
        &self,
        params: &ListCollectionsParams,
    ) -> Result<Messages<ListCollectionsResponse>> {
        let collections = self.backend().collections(&params.prefix).await?;
        let groups = Groups::new(collections.into_iter(), MESSAGE_COLLECTIONS, String::len);
        let messages = groups.map(|collections| {
            Ok(ListCollectionsResponse {
                stat: None,
                collections,
            })
        });
        Ok(stream::iter(messages).boxed())
    }

    pub(super) async fn lookup_streams(
        &self,
        params: LookupStreamsParams,
    ) -> Result<Messages<LookupStreamsResponse>> {
        let found = match filter(params)? {
            Some(filter) => self.backend().find(filter).await?,
            None => Vec::new(),
        };
        let descriptors = found
            .into_iter()
            .map(|stream: Arc<StreamDescriptor>| streams::descriptor(&stream));
        let groups = Groups::new(descriptors, MESSAGE_DESCRIPTORS, Descriptor::encoded_len);
        let messages = groups.map(|results| {
            Ok(LookupStreamsResponse {
                stat: None,
                results,
            })
        });
        Ok(stream::iter(messages).boxed())
    }

    pub(super) async fn get_metadata_usage(
        &self,
        params: &MetadataUsageParams,
    ) -> Result<MetadataUsageResponse> {
        let usage = self.backend().metadata_usage(&params.prefix).await?;
        let count = |key: &str, count| KeyCount {
            key: key.to_owned(),
            count,
        };
        Ok(MetadataUsageResponse {
            stat: None,
            // BTrDB does not count them: every stream has all four.
            tags: TagKey::ALL.map(|key| count(key.as_str(), 0)).to_vec(),
            annotations: usage
                .annotations
                .iter()
                .map(|(key, streams)| count(key, *streams))
                .collect(),
        })
    }

    pub(super) async fn sql_query(
        &self,
        params: &SqlQueryParams,
    ) -> Result<Messages<SqlQueryResponse>> {
        let rows = self
            .gateway
            .metadata_sql(&params.query, &params.params)
            .await
            .map_err(out_of_reach)?;
        let messages = rows.map_err(out_of_reach).map_ok(|rows| SqlQueryResponse {
            stat: None,
            sql_query_row: rows,
        });
        Ok(or_else(messages, || Ok(SqlQueryResponse::default())))
    }
}

/// The property version that a request insists on; 0 is any.
fn expected(property_version: u64) -> Option<u64> {
    (property_version != 0).then_some(property_version)
}

/// # Errors
/// Code 408 for a key that is none of the four.
fn tag_conditions(pairs: Vec<KeyOptValue>) -> Result<Vec<(TagKey, Option<String>)>> {
    let pairs = pairs.into_iter().map(streams::value);
    pairs
        .map(|(key, value)| Ok((key.parse()?, value)))
        .collect()
}

/// What a look-up wants; none is nothing at all, which is what a collection without a name holds.
fn filter(params: LookupStreamsParams) -> Result<Option<StreamFilter>> {
    let is_unnamed = params.collection.is_empty();
    if !is_unnamed {
        check_collection(&params.collection)?;
    }
    let tags = tag_conditions(params.tags)?;
    let collection = match (is_unnamed, params.is_collection_prefix) {
        (true, false) => return Ok(None),
        (true, true) => CollectionMatch::Any,
        (false, true) => CollectionMatch::Prefix(params.collection),
        (false, false) => CollectionMatch::Exact(params.collection),
    };
    let annotations = params.annotations.into_iter().map(streams::value);
    Ok(Some(StreamFilter {
        collection,
        tags,
        annotations: annotations.collect(),
    }))
}

/// A store that does not answer has a code of its own where it is asked for descriptions.
fn out_of_reach(error: Error) -> Error {
    match (error.kind(), error.code()) {
        (ErrorKind::Unavailable, None) => error.with_code(Code::MetadataConnection),
        _ => error,
    }
}
