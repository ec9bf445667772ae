//! Everything below a path of the address, too: clients put their own paths behind whatever path the address has that they are
//! given (`wss://example.com/calls` becomes `wss://example.com/calls/rtc`), and not every proxy takes it away.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::{PathAndQuery, Uri};
use axum::response::Response;
use tower::{ServiceExt as _, service_fn};

/// What a path may consist of, beside letters and digits.
const MARKS: &str = "-._~/";
/// Longest path, in bytes.
const MAX_PREFIX: usize = 128;

/// Is this a path as [`below`] takes it? Begins with a slash and ends with none.
pub fn is_path(text: &str) -> bool {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || MARKS.contains(c));
    text.len() <= MAX_PREFIX
        && text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && is_plain(text)
}

/// The same routes, and once more below `prefix`; nothing more if that is empty.
pub fn below(prefix: &str, routes: Router) -> Router {
    if prefix.is_empty() {
        return routes;
    }
    let prefix = prefix.to_owned();
    let service = service_fn(move |request: Request| {
        let (prefix, routes) = (prefix.clone(), routes.clone());
        async move { answer(&prefix, routes, request).await }
    });
    Router::new().fallback_service(service)
}

async fn answer(prefix: &str, routes: Router, mut request: Request) -> Result<Response, Infallible> {
    let Some(stripped) = strip(prefix, request.uri()) else { return routes.oneshot(request).await };
    *request.uri_mut() = stripped;
    let mut response = routes.oneshot(request).await?;
    for name in [header::LOCATION, header::LINK] {
        put_below(prefix, response.headers_mut(), &name);
    }
    Ok(response)
}

/// The address without the prefix; `None`: it has none.
fn strip(prefix: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let path = if rest.is_empty() { "/" } else { rest };
    let all = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(all).ok()?);
    Uri::from_parts(parts).ok()
}

/// Paths of ours in an answer, as in `/whip/session/x` or `</whep/session/x/layer>; rel=…`.
fn put_below(prefix: &str, headers: &mut HeaderMap, name: &HeaderName) {
    let values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    for value in values {
        let text = value.to_str().unwrap_or_default();
        let moved = match text.strip_prefix('<') {
            Some(rest) if rest.starts_with('/') => HeaderValue::try_from(format!("<{prefix}{rest}")).ok(),
            None if text.starts_with('/') => HeaderValue::try_from(format!("{prefix}{text}")).ok(),
            _ => None,
        };
        headers.append(name, moved.unwrap_or(value));
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    async fn ask(path: &str) -> (StatusCode, String, Vec<String>) {
        let links = [(header::LINK, "</whep/1>; rel=layer"), (header::LOCATION, "/whip/session/1")];
        let routes = Router::new()
            .route("/", get(|| async { "root" }))
            .route("//rtc", get(|| async { "doubled" }))
            .route("/rtc", get(|uri: Uri| async move { (links, uri.to_string()) }));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = below("/calls/v2", routes).oneshot(request).await.expect("an answer");
        let status = answer.status();
        let told = [header::LINK, header::LOCATION];
        let told = told.iter().filter_map(|name| answer.headers().get(name)?.to_str().ok());
        let told = told.map(str::to_owned).collect();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned(), told)
    }

    #[tokio::test]
    async fn routes_are_found_with_the_prefix_and_without() {
        for (path, expected) in [
            ("/calls/v2/rtc?access_token=x&y", "/rtc?access_token=x&y"),
            ("/rtc?access_token=x", "/rtc?access_token=x"),
            ("/calls/v2", "root"),
            ("/calls/v2/", "root"),
            ("/calls/v2//rtc", "doubled"),
            ("/", "root"),
        ] {
            let (status, body, _) = ask(path).await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, expected), "{path}");
        }
        for path in ["/calls/v2x/rtc", "/calls/rtc", "/x/calls/v2/rtc", "/calls/v2/calls/v2/rtc"] {
            assert_eq!(ask(path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn paths_in_an_answer_are_below_the_prefix_for_those_who_asked_there() {
        let expected = ["</calls/v2/whep/1>; rel=layer", "/calls/v2/whip/session/1"];
        assert_eq!(ask("/calls/v2/rtc").await.2, expected);
        assert_eq!(ask("/rtc").await.2, ["</whep/1>; rel=layer", "/whip/session/1"]);
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        let long = format!("/{}", "x".repeat(MAX_PREFIX));
        for (text, good) in [
            ("/calls", true),
            ("/a/b-c_d.e~1", true),
            ("calls", false),
            ("/calls/", false),
            ("/", false),
            ("/a//b", false),
            ("/a b", false),
            ("/a?b", false),
            ("", false),
            (&long, false),
        ] {
            assert_eq!(is_path(text), good, "{text}");
        }
    }
}
