//! The web page, embedded in the binary. It loads nothing from elsewhere and runs no inline code; the headers hold it to that.

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "web/"]
struct Files;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that no other route serves: the files of the page, or an error in the language of the caller.
pub(crate) async fn fallback(request: Request) -> Response {
    let asked_as = request
        .headers()
        .get(header::CONTENT_TYPE)
        .filter(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if let Some(content_type) = asked_as {
        return unknown_method(content_type.clone(), request.uri().path());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "GET only\n").into_response();
    }
    let name = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    match Files::get(name) {
        Some(file) => serve(file, request.headers()),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

fn serve(file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let mut headers = HeaderMap::new();
    let tag: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        // Always asked for again, and answered with "not modified" for as long as the binary is the same.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [(header::ETAG, tag.as_str()), (header::CONTENT_TYPE, &content_type(&file))] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    if asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Body::from(file.data.into_owned())).into_response()
}

fn content_type(file: &EmbeddedFile) -> String {
    let kind = file.metadata.mimetype();
    if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() }
}

/// gRPC clients read the status in headers, whatever the HTTP status; with any other answer they would only see "unknown".
fn unknown_method(content_type: HeaderValue, path: &str) -> Response {
    let path: String = path.chars().take(120).collect();
    let mut response = crate::grpc::unknown_method(&path).into_http::<Body>();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_its_parts_are_there() {
        for name in ["index.html", "app.js", "style.css"] {
            assert!(Files::get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_page_obeys_its_own_policy() {
        let html = String::from_utf8(Files::get("index.html").unwrap().data.into_owned()).unwrap();
        for forbidden in ["<style", " style=", "onclick", "http://", "https://", "<script>"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        let script = String::from_utf8(Files::get("app.js").unwrap().data.into_owned()).unwrap();
        for forbidden in ["innerHTML", "insertAdjacentHTML", "eval(", "http://", "https://", "document.write"]
        {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }
}
