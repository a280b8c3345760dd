//! What a durable consumer is to be on the server.

use async_nats::jetstream::{
    ErrorCode,
    consumer::{AckPolicy, Config, DeliverPolicy, pull},
    stream::{ConsumerError, ConsumerErrorKind, Stream},
};

use crate::broker::DurableSpec;

/// A consumer of this name is there, and is not what it has to be.
#[derive(Debug, thiserror::Error)]
#[error("consumer {consumer} exists with {setting} {existing:?}, but {wanted:?} is needed")]
pub(super) struct Conflict {
    consumer: String,
    setting: &'static str,
    existing: String,
    wanted: String,
}

pub(super) fn config(spec: &DurableSpec, deliver_policy: DeliverPolicy) -> pull::Config {
    pull::Config {
        durable_name: Some(spec.name.clone()),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        filter_subjects: spec.filters.clone(),
        max_ack_pending: i64::try_from(spec.unacknowledged_max).unwrap_or(i64::MAX),
        ..pull::Config::default()
    }
}

/// What somebody else made under this name, and no update can change.
pub(super) fn refuse_conflicts(spec: &DurableSpec, existing: &Config) -> Result<(), Conflict> {
    let mut filters = existing.filter_subjects.clone();
    if !existing.filter_subject.is_empty() {
        filters.push(existing.filter_subject.clone());
    }
    filters.sort();
    let mut wanted_filters = spec.filters.clone();
    wanted_filters.sort();
    let settings = [
        ("acknowledgements", format!("{:?}", existing.ack_policy), format!("{:?}", AckPolicy::Explicit)),
        ("filters", filters.join(" "), wanted_filters.join(" ")),
        ("delivery subject", existing.deliver_subject.clone().unwrap_or_default(), String::new()),
    ];
    for (setting, existing, wanted) in settings {
        if existing != wanted {
            return Err(Conflict { consumer: spec.name.clone(), setting, existing, wanted });
        }
    }
    Ok(())
}

/// Deletes a consumer; one that is not there is as good.
pub(super) async fn delete(stream: &Stream<()>, name: &str) -> Result<(), ConsumerError> {
    match stream.delete_consumer(name).await {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &ConsumerError) -> bool {
    matches!(error.kind(), ConsumerErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}
