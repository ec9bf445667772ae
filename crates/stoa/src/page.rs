//! The meeting page, built by Vite from `web/meet` and carried in the binary.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Name and content of every file of the page; empty when it was not built.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

const NOT_BUILT: &str = include_str!("page_not_built.html");

/// The page at `/`, `/r/NAME` and `/chat`, and what it is made of at every other path.
pub fn router() -> Router {
    Router::new()
        .route("/", get(index))
        .route("/r/{*room}", get(index))
        .route("/chat", get(index))
        .route("/chat/{*channel}", get(index))
        .route("/{*path}", get(|Path(path): Path<String>| async move { file(FILES, &path) }))
}

/// One page for all rooms: which one, it reads from its address.
async fn index() -> Response {
    match FILES.iter().find(|(name, _)| *name == "index.html") {
        Some(_) => file(FILES, "index.html"),
        None => answer("page.html", NOT_BUILT.as_bytes()),
    }
}

fn file(files: &'static [(&str, &[u8])], path: &str) -> Response {
    match files.iter().find(|(name, _)| *name == path) {
        Some((name, content)) => answer(name, content),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

fn answer(name: &str, content: &'static [u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(name))),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache_control(name))),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Addresses name rooms: they are not told to other sites.
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, content).into_response()
}

/// Vite names the files in `assets/` after their content; the others keep their names when they change.
fn cache_control(name: &str) -> &'static str {
    if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        router().oneshot(request).await.expect("an answer")
    }

    #[tokio::test]
    async fn the_page_is_at_the_root_and_at_every_room() {
        for path in ["/", "/r/lobby", "/r/caf%C3%A9/x", "/chat", "/chat/direct:ann:bob"] {
            let answer = get(path).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
            assert_eq!(answer.headers()["cache-control"], "no-cache");
            let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
            assert!(String::from_utf8_lossy(&body).contains("<html"), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        for path in ["/assets/x.js", "/..%2f..%2fCargo.toml", "/rtcx"] {
            assert_eq!(get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn files_named_after_their_content_are_kept_for_good() {
        static SOME: &[(&str, &[u8])] = &[("assets/app-1a2b.js", b"x"), ("favicon.svg", b"y")];
        let script = file(SOME, "assets/app-1a2b.js");
        assert_eq!(script.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(file(SOME, "favicon.svg").headers()["cache-control"], "no-cache");
    }
}
