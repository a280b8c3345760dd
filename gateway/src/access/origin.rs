//! Where the pages may come from that call from a browser.

use http::{HeaderMap, Uri, header};

/// The origins of pages that may call, beside the gateway's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    any: bool,
    allowed: Vec<String>,
}

impl Origins {
    /// Reads a list of `https://app.example`, `null`, or `*` for any.
    pub(super) fn parse(names: &[String]) -> Result<Self, String> {
        let mut origins = Self::default();
        for name in names {
            match name.as_str() {
                "*" => origins.any = true,
                "null" => origins.allowed.push(name.clone()),
                _ => origins.allowed.push(
                    normalised(name)
                        .ok_or_else(|| format!("{name:?} is no origin such as https://app.example"))?,
                ),
            }
        }
        Ok(origins)
    }

    /// Whether a request may pass: it names no origin, so that it comes from no page, or one that may call.
    pub(crate) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let known = |origin: &String| self.allowed.contains(origin);
        self.any
            || (origin == "null" && known(&origin.to_owned()))
            || normalised(origin).is_some_and(|origin| known(&origin) || is_own(&origin, uri, headers))
    }
}

/// Scheme, host and port in lower case, without a port that goes without saying; `None` for what is no origin.
fn normalised(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let is_bare = uri.path() == "/" && uri.query().is_none() && !origin.ends_with('/');
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = uri.port_u16().filter(|port| *port != default_port);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    is_bare.then(|| format!("{scheme}://{host}{port}").to_ascii_lowercase())
}

/// Whether a page came from the host that it calls. The scheme may differ where a proxy ends TLS.
fn is_own(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    // HTTP/2 has it in the address instead of a header.
    let in_header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority()
        .map(http::uri::Authority::as_str)
        .or_else(in_header)
        .and_then(|host| normalised(&format!("{scheme}://{host}")))
        .is_some_and(|own| own.split_once("://").is_some_and(|(_, own)| own == authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &[&str], origin: Option<&'static str>, host: &'static str) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let uri = Uri::from_static("/ws");
        Origins::parse(&allowed).unwrap().allow(&uri, &headers)
    }

    #[test]
    fn the_own_page_and_those_that_are_named_may_call() {
        let own = "gateway.example:8000";
        assert!(allows(&[], None, own), "no browser");
        assert!(allows(&[], Some("http://gateway.example:8000"), own));
        assert!(allows(&[], Some("https://Gateway.example"), "gateway.example"), "TLS ended by a proxy");
        assert!(!allows(&[], Some("https://gateway.example"), own), "another port");
        assert!(!allows(&[], Some("https://evil.example"), own));
        assert!(!allows(&[], Some("https://gateway.example:8000.evil.example"), own));
        assert!(!allows(&[], Some("null"), own));
        assert!(!allows(&[], Some("not an origin"), own));
        assert!(allows(&["https://app.example"], Some("https://app.example:443"), own));
        assert!(!allows(&["https://app.example"], Some("http://app.example"), own));
        assert!(allows(&["null"], Some("null"), own));
        assert!(allows(&["*"], Some("https://anything.example"), own));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["app.example", "https://app.example/", "https://app.example/path", ""] {
            assert!(Origins::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
