//! Where requests carry their credentials.

use http::{HeaderMap, HeaderName, header};

/// What a browser's WebSocket may offer as a subprotocol, because it can set no header: this and the key or token.
const SUBPROTOCOL: &str = "ledgerflux.bearer.";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The headers that carry credentials, which nobody but us may see.
pub(crate) const SECRET_HEADERS: [HeaderName; 3] = [header::AUTHORIZATION, API_KEY, header::COOKIE];

/// The key or token in `authorization: Bearer …` or `x-api-key`; `Err` for another scheme.
pub(super) fn header_token(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.to_str().map_err(|_| "authorization is not ASCII")?;
        return match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
            _ => Err("authorization must be Bearer and a key or token"),
        };
    }
    headers.get(API_KEY).map(|value| value.to_str().map_err(|_| "x-api-key is not ASCII")).transpose()
}

/// The key or token among the subprotocols that a WebSocket client offers.
pub(crate) fn subprotocol_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|offered| offered.trim().strip_prefix(SUBPROTOCOL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_are_found_wherever_they_may_be() {
        assert_eq!(header_token(&headers(&[("authorization", "bearer abc")])), Ok(Some("abc")));
        assert_eq!(header_token(&headers(&[("x-api-key", "abc")])), Ok(Some("abc")));
        assert_eq!(header_token(&headers(&[])), Ok(None));
        assert!(header_token(&headers(&[("authorization", "Basic abc")])).is_err());
        let offered = headers(&[("sec-websocket-protocol", "ledgerflux.v1.json, ledgerflux.bearer.a.b-c_d")]);
        assert_eq!(subprotocol_token(&offered), Some("a.b-c_d"));
        assert_eq!(subprotocol_token(&headers(&[("sec-websocket-protocol", "x")])), None);
    }
}
