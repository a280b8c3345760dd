//! What a client is told when its request cannot be done.

/// The code of an error frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The operation is missing or unknown.
    InvalidOperation,
    /// The frame is no JSON object.
    InvalidJson,
    /// The subscription cannot be made.
    SubscribeError,
    /// The products to leave cannot be read.
    UnsubscribeError,
    /// The ping cannot be answered.
    PingError,
    /// The token to resume with was not given out here.
    InvalidToken,
    /// Requests come too fast.
    TooManyRequests,
}

impl Code {
    /// As it stands in frames and labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidOperation => "INVALID_OPERATION",
            Self::InvalidJson => "INVALID_JSON",
            Self::SubscribeError => "SUBSCRIBE_ERROR",
            Self::UnsubscribeError => "UNSUBSCRIBE_ERROR",
            Self::PingError => "PING_ERROR",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::TooManyRequests => "TOO_MANY_REQUESTS",
        }
    }
}

/// An error frame to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// Precise, for people; never longer than a few hundred bytes.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
