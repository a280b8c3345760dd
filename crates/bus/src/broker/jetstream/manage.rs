//! Making streams on the server.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy},
};

use super::JetStream;
use crate::{
    BrokerError,
    manage::ManageError,
    streams::{Discard, Retention, StreamSpec},
};

/// The metadata of `LF_RAW` that holds the shard count.
pub(super) const SHARDS: &str = "lf-shards";
/// The metadata of `LF_RAW` that holds the count that the streams are being rewritten for.
pub(super) const RESHARDING: &str = "lf-resharding";
/// How often a stream that others make at the same time is looked at anew.
const ATTEMPTS_MAX: usize = 5;
/// How long to leave the others to it before that: a cluster makes a stream in several steps.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

impl JetStream {
    pub(crate) async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        let wanted = config(spec);
        for attempt in 1.. {
            let outcome = match self.existing(spec).await? {
                None => self.create(spec, wanted.clone()).await,
                Some(existing) => self.update(spec, &existing, wanted.clone()).await,
            };
            match outcome {
                // Somebody else made or deleted it in between; the next attempt compares.
                Err(Refused::Overtaken(error)) if attempt < ATTEMPTS_MAX => {
                    tracing::debug!(stream = spec.name, %error, "the stream is looked at anew");
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
                Err(Refused::Overtaken(error)) => return Err(error.into()),
                Err(Refused::Final(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(crate) async fn check_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        match self.existing(spec).await? {
            None => Err(ManageError::Missing { stream: spec.name.clone() }),
            Some(existing) => check_shards(spec, &existing),
        }
    }

    async fn existing(&self, spec: &StreamSpec) -> Result<Option<Config>, BrokerError> {
        match self.context.get_stream(&spec.name).await {
            Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(BrokerError::new("look up the stream", &spec.name, error)),
            },
        }
    }

    async fn create(&self, spec: &StreamSpec, wanted: Config) -> Result<(), Refused> {
        // The server takes a second creation with the same settings for done.
        let created = self.context.create_stream(wanted).await;
        created.map_err(|error| refused("create the stream", spec, error))?;
        tracing::info!(stream = spec.name, "stream created");
        Ok(())
    }

    async fn update(&self, spec: &StreamSpec, existing: &Config, wanted: Config) -> Result<(), Refused> {
        refuse_conflicts(spec, existing, &wanted)?;
        if same_limits(existing, &wanted) {
            return Ok(());
        }
        // What somebody set beside our settings stays.
        let merged = Config {
            max_bytes: wanted.max_bytes,
            max_messages_per_subject: wanted.max_messages_per_subject,
            max_age: wanted.max_age,
            duplicate_window: wanted.duplicate_window,
            num_replicas: wanted.num_replicas,
            allow_direct: wanted.allow_direct,
            ..existing.clone()
        };
        let updated = self.context.update_stream(merged).await;
        updated.map_err(|error| refused("update the stream", spec, error))?;
        tracing::info!(stream = spec.name, "stream updated");
        Ok(())
    }
}

/// Why a stream was not made or updated.
enum Refused {
    /// It is not as it was when it was looked at.
    Overtaken(BrokerError),
    Final(ManageError),
}

impl From<ManageError> for Refused {
    fn from(error: ManageError) -> Self {
        Self::Final(error)
    }
}

fn refused(operation: &'static str, spec: &StreamSpec, error: CreateStreamError) -> Refused {
    let overtaken = matches!(
        error.kind(),
        CreateStreamErrorKind::JetStream(answer)
            if [ErrorCode::STREAM_NAME_EXIST, ErrorCode::STREAM_NOT_FOUND].contains(&answer.error_code())
    );
    let overtaken = overtaken || error.kind() == CreateStreamErrorKind::NotFound;
    let error = BrokerError::new(operation, &spec.name, error);
    if overtaken { Refused::Overtaken(error) } else { Refused::Final(error.into()) }
}

fn config(spec: &StreamSpec) -> Config {
    let shards = spec.shards.map(|shards| (SHARDS.to_owned(), shards.to_string()));
    Config {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        retention: match spec.retention {
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
            Retention::Limits => RetentionPolicy::Limits,
        },
        discard: match spec.discard {
            Discard::New => DiscardPolicy::New,
            Discard::Old => DiscardPolicy::Old,
        },
        max_bytes: i64::try_from(spec.size_bytes_max).unwrap_or(i64::MAX),
        max_messages_per_subject: if spec.one_per_subject { 1 } else { -1 },
        max_age: spec.age_max.unwrap_or_default(),
        duplicate_window: spec.duplicate_window,
        num_replicas: spec.replicas,
        allow_direct: true,
        metadata: shards.into_iter().collect(),
        ..Config::default()
    }
}

fn same_limits(existing: &Config, wanted: &Config) -> bool {
    existing.max_bytes == wanted.max_bytes
        && existing.max_messages_per_subject == wanted.max_messages_per_subject
        && existing.max_age == wanted.max_age
        && existing.duplicate_window == wanted.duplicate_window
        && existing.num_replicas == wanted.num_replicas
        && existing.allow_direct == wanted.allow_direct
}

/// Whether the stream was made for the wanted number of shards.
fn check_shards(spec: &StreamSpec, existing: &Config) -> Result<(), ManageError> {
    let Some(wanted) = spec.shards else { return Ok(()) };
    let found = existing.metadata.get(SHARDS).cloned().unwrap_or_else(|| "an unknown number of".into());
    if let Some(to) = existing.metadata.get(RESHARDING) {
        let (stream, to) = (spec.name.clone(), to.clone());
        return Err(ManageError::Resharding { stream, from: found, to });
    }
    if found != wanted.to_string() {
        return Err(ManageError::ShardCount { stream: spec.name.clone(), existing: found, wanted });
    }
    Ok(())
}

/// What cannot be changed on a stream that is in use, or must not be.
fn refuse_conflicts(spec: &StreamSpec, existing: &Config, wanted: &Config) -> Result<(), ManageError> {
    check_shards(spec, existing)?;
    let mut existing_subjects = existing.subjects.clone();
    let mut wanted_subjects = wanted.subjects.clone();
    existing_subjects.sort();
    wanted_subjects.sort();
    let settings = [
        ("subjects", existing_subjects.join(" "), wanted_subjects.join(" ")),
        ("retention", format!("{:?}", existing.retention), format!("{:?}", wanted.retention)),
        ("discard", format!("{:?}", existing.discard), format!("{:?}", wanted.discard)),
        ("storage", format!("{:?}", existing.storage), format!("{:?}", wanted.storage)),
    ];
    for (setting, existing, wanted) in settings {
        if existing != wanted {
            return Err(ManageError::Conflict { stream: spec.name.clone(), setting, existing, wanted });
        }
    }
    Ok(())
}
