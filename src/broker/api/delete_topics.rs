//! DeleteTopics v1–6; by id from v6 on. Errors: 3, 17, 42, 100.

use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use crate::broker::topics::is_internal;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

const ID_VERSION: i16 = 6;

impl Served for DeleteTopicsRequest {
    const OFFERED: (i16, i16) = (1, 6);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let results = asked(&self, caller.version).into_iter().map(|state| {
            let deleted = cluster.delete(&state);
            let mut result = DeletableTopicResult::default().with_name(state.name.clone());
            if caller.version >= ID_VERSION {
                result.topic_id = state.topic_id;
            }
            match deleted {
                Ok((name, id)) => {
                    result.name = Some(super::topic_name(&name));
                    if caller.version >= ID_VERSION {
                        result.topic_id = id;
                    }
                }
                Err(error) => result.error_code = error.code(),
            }
            result
        });
        let response = DeleteTopicsResponse::default().with_responses(results.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> DeleteTopicsResponse {
        let results = asked(self, version)
            .into_iter()
            .map(|state| DeletableTopicResult::default().with_name(state.name).with_error_code(error.code()));
        DeleteTopicsResponse::default().with_responses(results.collect())
    }
}

fn asked(request: &DeleteTopicsRequest, version: i16) -> Vec<DeleteTopicState> {
    if version >= ID_VERSION {
        return request.topics.clone();
    }
    request.topic_names.iter().map(|name| DeleteTopicState::default().with_name(Some(name.clone()))).collect()
}

impl Cluster {
    fn delete(&mut self, state: &DeleteTopicState) -> Result<(String, uuid::Uuid), ResponseError> {
        let name = match &state.name {
            Some(_) if !state.topic_id.is_nil() => return Err(ResponseError::InvalidRequest),
            Some(name) => name.to_string(),
            None => self.topics.name_of(state.topic_id).ok_or(ResponseError::UnknownTopicId)?.to_owned(),
        };
        if is_internal(&name) {
            return Err(ResponseError::InvalidTopicException);
        }
        let id = self.topics.get(&name).ok_or(ResponseError::UnknownTopicOrPartition)?.id;
        self.remove_topic(&name);
        Ok((name, id))
    }
}
