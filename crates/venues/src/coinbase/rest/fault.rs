//! What can be wrong with an answer: what, where, and what would be allowed.

use std::error::Error as _;

use domain::InvalidInstrument;
use serde::Deserialize;
use thiserror::Error;

use super::super::fault::{FrameFault, clip};
use super::super::field::Field;
use super::ANSWER_BYTES_MAX;
use super::objects::Object;

/// Why an answer cannot be used.
#[derive(Debug, Error)]
pub enum RestFault {
    /// The exchange did not do what it was asked for.
    #[error("the exchange answered {status}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Status {
        /// The status of the answer.
        status: u16,
        /// What the exchange says about it (rule 5).
        message: Option<String>,
    },
    /// No answer of the exchange is that long.
    #[error("the answer has {length} bytes, allowed: up to {ANSWER_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// JSON is UTF-8.
    #[error("the answer is no UTF-8 text from byte {valid_up_to} on")]
    NotText {
        /// How many bytes are sound.
        valid_up_to: usize,
    },
    /// The JSON breaks off, is malformed, or is no list of objects; the source names the place.
    #[error("the answer is no list of objects")]
    Undecodable {
        /// What the parser says, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// An entry of the list cannot be used.
    #[error("entry {index} is unusable")]
    Entry {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: FrameFault,
    },
    /// A product has a name that could break out of where it is used.
    #[error("entry {index} is unusable")]
    Name {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidInstrument,
    },
    /// Trades come newest first, and all are older than the cursor (rules 1 and 2).
    #[error("entry {index} has trade_id {trade_id}, allowed: below {below}")]
    OutOfOrder {
        /// Its place in the list, from 0.
        index: usize,
        /// Its number.
        trade_id: u64,
        /// The number of the trade before it, or the cursor.
        below: u64,
    },
}

impl RestFault {
    /// Whether the same request may succeed later: everything but the answers that the exchange has not got what was asked
    /// for, 404 and 400. That it does not answer us, or not from here (401, 403, 451), says nothing of what it has.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Status { status: 400 | 404, .. })
    }

    /// Whether the exchange asks to be asked less often (rule 4).
    pub fn is_rate_limit(&self) -> bool {
        matches!(self, Self::Status { status: 429, .. })
    }

    /// The whole explanation with its causes, at most 500 characters.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.chars().take(500).collect()
    }
}

/// Rule 5: anything but 200 is a fault, with what the exchange says in `body`.
pub fn check_status(status: u16, body: &[u8]) -> Result<(), RestFault> {
    if status == 200 { Ok(()) } else { Err(RestFault::Status { status, message: message(body) }) }
}

#[derive(Deserialize)]
struct Complaint<'a> {
    #[serde(borrow, default)]
    message: Field<'a>,
}

fn message(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= ANSWER_BYTES_MAX)?;
    let Object(complaint): Object<Complaint<'_>> = serde_json::from_str(text).ok()?;
    complaint.message.text().map(clip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_200_is_a_fault_with_the_message_of_the_exchange() {
        assert!(check_status(200, b"[]").is_ok());
        let fault = check_status(404, br#"{"message":"NotFound"}"#).unwrap_err();
        assert_eq!(fault.to_string(), "the exchange answered 404: NotFound");
        assert!(!fault.is_retryable() && !fault.is_rate_limit());
        for body in [&b"<html>"[..], b"[\"x\"]", b"\xff", b"{\"message\":7}", b""] {
            let fault = check_status(502, body).unwrap_err();
            assert_eq!(fault.to_string(), "the exchange answered 502");
            assert!(fault.is_retryable());
        }
        let busy = check_status(429, br#"{"message":"Public rate limit exceeded"}"#).unwrap_err();
        assert!(busy.is_rate_limit() && busy.is_retryable());
        for status in [301, 401, 403, 405, 408, 425, 451, 500, 503] {
            assert!(check_status(status, b"").unwrap_err().is_retryable(), "{status}");
        }
        assert!(!check_status(400, b"").unwrap_err().is_retryable());
    }
}
