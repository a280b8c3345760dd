//! Why a publish did not succeed, and what to do about it.

use thiserror::Error;

use crate::{BrokerError, Owner, broker::PublishFailure, metrics::RetryCause};

/// Why a message was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Somebody who started later owns the subject now. Stop, tell who, and do not come back soon.
    #[error("{subject} belongs to {by}, who started later")]
    Fenced {
        /// The subject.
        subject: String,
        /// Who owns it.
        by: Owner,
    },
    /// Somebody who started earlier wrote to the subject since. Recover the position again and go on.
    #[error("{subject} was written to by {from}, who started earlier; its position has to be recovered")]
    TakenOver {
        /// The subject.
        subject: String,
        /// Who wrote.
        from: Owner,
    },
    /// The last message of the subject carries no owner, so that nobody can say who comes first. Recover and go on.
    #[error("{subject} was written to by somebody unknown; its position has to be recovered")]
    UnknownOwner {
        /// The subject.
        subject: String,
    },
    /// A message of our own that was given up has been stored all the same. Recover and go on.
    #[error("an earlier message of our own was stored on {subject} unseen; its position has to be recovered")]
    Unrecovered {
        /// The subject.
        subject: String,
    },
    /// The stream is full and refuses new messages. Try again later.
    #[error("the stream of {subject} is full")]
    Full {
        /// The subject.
        subject: String,
    },
    /// The message is larger than the broker takes. Trying again is of no use.
    #[error("the message for {subject} is too large")]
    TooLarge {
        /// The subject.
        subject: String,
        /// What the broker says.
        #[source]
        source: BrokerError,
    },
    /// There was no acknowledgement. Try again with the same message: it may be stored already, and is recognised
    /// then.
    #[error("the message for {subject} was not acknowledged")]
    Unavailable {
        /// The subject.
        subject: String,
        /// What the broker says.
        #[source]
        source: BrokerError,
    },
}

impl PublishError {
    /// Whether to try again with the same message after a while.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Unavailable { .. })
    }

    /// Whether to recover the position first, and then to go on.
    pub fn needs_recovery(&self) -> bool {
        matches!(self, Self::TakenOver { .. } | Self::UnknownOwner { .. } | Self::Unrecovered { .. })
    }
}

impl PublishFailure {
    pub(crate) fn cause(&self) -> RetryCause {
        match self {
            Self::WrongLastSequence => RetryCause::Fence,
            Self::Full => RetryCause::Full,
            Self::TooLarge(_) => RetryCause::TooLarge,
            Self::Unavailable(_) => RetryCause::Unavailable,
        }
    }

    /// The error of an unfenced publish.
    pub(crate) fn into_error(self, subject: &str) -> PublishError {
        let subject = subject.to_owned();
        match self {
            Self::WrongLastSequence => PublishError::UnknownOwner { subject },
            Self::Full => PublishError::Full { subject },
            Self::TooLarge(source) => PublishError::TooLarge { subject, source },
            Self::Unavailable(source) => PublishError::Unavailable { subject, source },
        }
    }
}
