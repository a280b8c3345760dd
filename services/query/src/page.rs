//! Page tokens: opaque, safe in a URL, and bound to the request that they came from.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::errors::invalid;

/// A token longer than this is none of ours.
const TOKEN_BYTES_MAX: usize = 1024;

/// What a request asks for apart from its page: a token is only good for the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of a request whose `page_size` and `page_token` have been cleared. `method` keeps the tokens of methods apart.
    pub(crate) fn of(method: &str, request: &impl Message) -> Self {
        let mut hash = Sha256::new();
        hash.update(method.as_bytes());
        hash.update([0]);
        hash.update(request.encode_to_vec());
        let digest = hash.finalize();
        Self(digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[derive(Serialize, Deserialize)]
struct Token<K> {
    request: Fingerprint,
    after: K,
}

/// The token of the page that starts after `after`.
pub(crate) fn encode<K: Serialize>(request: Fingerprint, after: K) -> String {
    // A key is a handful of numbers: serialising it cannot fail, and an empty token would only end the list early.
    let bytes = serde_json::to_vec(&Token { request, after }).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where the page starts; `None` for the first one.
pub(crate) fn decode<K: DeserializeOwned>(request: Fingerprint, token: &str) -> Result<Option<K>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let malformed = || invalid("page_token", "it is none that this method has given out");
    if token.len() > TOKEN_BYTES_MAX {
        return Err(malformed());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
    let token: Token<K> = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    if token.request != request {
        return Err(invalid(
            "page_token",
            "it belongs to another request: only page_size may change between pages",
        ));
    }
    Ok(Some(token.after))
}

/// How much of an answer of `bytes_max` is left for what is not rows.
const ANSWER_OVERHEAD_BYTES: usize = 4 * 1024;

/// How many of `rows` fit into an answer of `bytes_max`; at least one, so that every page makes progress.
pub(crate) fn fitting<T: Message>(rows: &[T], bytes_max: usize) -> usize {
    let mut left = bytes_max.saturating_sub(ANSWER_OVERHEAD_BYTES);
    let mut count = 0;
    for row in rows {
        // With its tag and its length.
        let size = row.encoded_len() + 6;
        if size > left {
            break;
        }
        left -= size;
        count += 1;
    }
    count.max(rows.len().min(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::ListTicksRequest;

    #[test]
    fn a_page_fits_its_answer_and_always_makes_progress() {
        let tick = proto::v1::Tick { product: "BTC-USD".into(), ..Default::default() };
        let rows = vec![tick.clone(); 100];
        let size = tick.encoded_len() + 6;
        assert_eq!(fitting(&rows, ANSWER_OVERHEAD_BYTES + 10 * size), 10);
        assert_eq!(fitting(&rows, 1024 * 1024), 100);
        assert_eq!(fitting(&rows, 1), 1);
        assert_eq!(fitting::<proto::v1::Tick>(&[], 1), 0);
    }

    #[test]
    fn a_token_is_good_for_the_same_request_only() {
        let request = |product: &str| ListTicksRequest { product: product.into(), ..Default::default() };
        let mine = Fingerprint::of("ListTicks", &request("BTC-USD"));
        let token = encode(mine, (7i64, Some(3u64)));
        assert!(
            token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "{token}"
        );
        assert_eq!(decode::<(i64, Option<u64>)>(mine, &token).unwrap(), Some((7, Some(3))));
        assert_eq!(decode::<(i64, Option<u64>)>(mine, "").unwrap(), None);
        let other = Fingerprint::of("ListTicks", &request("ETH-USD"));
        assert!(decode::<(i64, Option<u64>)>(other, &token).is_err());
        let method = Fingerprint::of("StreamTicks", &request("BTC-USD"));
        assert!(decode::<(i64, Option<u64>)>(method, &token).is_err());
        for bad in ["x", "!!!!", "e30", &"A".repeat(2000)] {
            assert!(decode::<(i64, Option<u64>)>(mine, bad).is_err(), "{bad}");
        }
    }
}
