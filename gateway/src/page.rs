//! The web page, embedded in the binary. It loads nothing from elsewhere and runs no inline code; the headers hold it to that.
//!
//! `make page` builds it from `web/`; without it a plain page is embedded that says what is missing (`build.rs` looks).

use std::borrow::Cow;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The page.
#[cfg(page_is_built)]
#[derive(RustEmbed)]
#[folder = "web/embed/page/"]
struct Files;

/// What says that it is missing, and how to get it.
#[cfg(any(test, not(page_is_built)))]
#[derive(RustEmbed)]
#[folder = "web/embed/missing/"]
struct Plain;

#[cfg(not(page_is_built))]
use Plain as Files;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that no other route serves: the files of the page, or an error in the language of the caller.
pub(crate) async fn fallback(request: Request) -> Response {
    answer::<Files>(&request)
}

fn answer<F: RustEmbed>(request: &Request) -> Response {
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
    match F::get(name) {
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
    (headers, Body::from(shared(file.data))).into_response()
}

/// What is embedded in the binary is sent from there, to however many clients that do not read it.
fn shared(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        // Builds for development read the file each time.
        Cow::Owned(bytes) => bytes.into(),
    }
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

    /// Every file that a browser may be given, with its name.
    fn texts<F: RustEmbed>() -> Vec<(String, String)> {
        let names: Vec<String> = F::iter().map(Cow::into_owned).collect();
        assert!(names.iter().any(|name| name == "index.html"), "{names:?}");
        let text = |name: &String| String::from_utf8(F::get(name)?.data.into_owned()).ok();
        names.into_iter().filter_map(|name| Some((name.clone(), text(&name)?))).collect()
    }

    #[test]
    fn what_is_embedded_is_not_copied_for_a_client() {
        static EMBEDDED: [u8; 3] = *b"abc";
        assert_eq!(shared(Cow::Borrowed(&EMBEDDED)).as_ptr(), EMBEDDED.as_ptr());
    }

    fn obeys_its_own_policy<F: RustEmbed>() {
        for (name, html) in texts::<F>().into_iter().filter(|(name, _)| name.ends_with(".html")) {
            for forbidden in ["<style", " style=", " onclick", "<script>", "src=\"http", "src=\"//"] {
                assert!(!html.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }

    /// Links lead elsewhere; nothing that a browser fetches by itself does.
    fn fetches_its_own_files<F: RustEmbed>() {
        let known = texts::<F>();
        let (_, html) = known.iter().find(|(name, _)| name == "index.html").unwrap();
        for tag in html
            .split('<')
            .filter(|tag| ["link ", "script ", "img "].iter().any(|start| tag.starts_with(start)))
        {
            let target = tag.split_once("href=\"").or_else(|| tag.split_once("src=\"")).unwrap().1;
            let name = target.split('"').next().unwrap().trim_start_matches("./");
            assert!(known.iter().any(|(known, _)| known == name), "{tag}");
        }
    }

    #[test]
    fn the_page_obeys_its_own_policy_and_fetches_its_own_files() {
        obeys_its_own_policy::<Files>();
        fetches_its_own_files::<Files>();
    }

    async fn get<F: RustEmbed>(path: &str) -> (StatusCode, HeaderMap, String) {
        let response = answer::<F>(&Request::get(path).body(Body::empty()).unwrap());
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// What a program serves that was built without Node, whether this one was or not.
    #[tokio::test]
    async fn without_the_page_a_plain_one_says_what_is_missing() {
        obeys_its_own_policy::<Plain>();
        fetches_its_own_files::<Plain>();
        let (status, headers, html) = get::<Plain>("/").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY);
        for told in ["without its page", "Node 20.19", "make page", "/ws", "grpc-web", "ledgerflux watch"] {
            assert!(html.contains(told), "{told} is not told");
        }
        let (status, headers, _) = get::<Plain>("/plain.css").await;
        assert_eq!(
            (status, headers[header::CONTENT_TYPE].as_bytes()),
            (StatusCode::OK, &b"text/css; charset=utf-8"[..])
        );
        assert_eq!(get::<Plain>("/assets/index.js").await.0, StatusCode::NOT_FOUND);
    }
}
