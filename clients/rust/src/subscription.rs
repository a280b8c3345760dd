//! Live ticks.

use futures::{Stream, stream};
use prost_types::Timestamp;
use tonic::Streaming;

use crate::{
    Error,
    v1::{self, subscribe_request, subscribe_response::Message},
};

/// Where a subscription starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// Only what happens from now on.
    Now,
    /// First a snapshot of each product.
    #[default]
    Snapshot,
    /// First everything after the token of an earlier subscription.
    Token(String),
    /// First everything that happened at or after this event time.
    Time(Timestamp),
}

impl From<Start> for subscribe_request::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::Now => Self::Now(v1::StartNow {}),
            Start::Snapshot => Self::Snapshot(v1::StartSnapshot {}),
            Start::Token(token) => Self::ResumeToken(token),
            Start::Time(time) => Self::StartTime(time),
        }
    }
}

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The market state of a product at the start of its ticks.
    Snapshot(v1::SnapshotUpdate),
    /// One tick.
    Tick(v1::TickUpdate),
    /// Something about the stream itself.
    Event(v1::StreamEvent),
}

/// A running subscription. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    messages: Streaming<v1::SubscribeResponse>,
    resume_token: Option<String>,
}

impl Subscription {
    pub(crate) const CALL: &'static str = "Subscribe";

    pub(crate) fn new(messages: Streaming<v1::SubscribeResponse>) -> Self {
        Self { messages, resume_token: None }
    }

    /// The next update; `None` when the server has ended the subscription. Kinds of messages that this version does not
    /// know are passed over.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        while let Some(response) = self.messages.message().await.map_err(Error::call(Self::CALL))? {
            match response.message {
                Some(Message::Snapshot(snapshot)) => return Ok(Some(Update::Snapshot(snapshot))),
                Some(Message::Tick(tick)) => return Ok(Some(Update::Tick(tick))),
                Some(Message::Event(event)) => {
                    if !event.resume_token.is_empty() {
                        self.resume_token = Some(event.resume_token.clone());
                    }
                    return Ok(Some(Update::Event(event)));
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// The newest token that resumes the whole subscription, for [`Start::Token`]; `None` before the first one.
    pub fn resume_token(&self) -> Option<&str> {
        self.resume_token.as_deref()
    }

    /// The updates as a stream, which ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> {
        stream::try_unfold(self, |mut updates| async move {
            Ok(updates.next().await?.map(|update| (update, updates)))
        })
    }
}
