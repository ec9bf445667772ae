//! Sending one request: HTTP/1.1 over TCP or TLS, certificates held against those that the machine trusts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Pool, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::crypto::aws_lc_rs;

const AGENT: &str = concat!("Stoa/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are read, so that its connection can be used again; longer ones cost theirs.
const MAX_ANSWER: usize = 64 * 1_024;
/// Idle connections that are kept for a receiver.
const IDLE: usize = 8;
/// And how long: shorter than receivers usually keep theirs, so that few requests meet one that is being closed.
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Sends requests. Clones share connections. Redirections are not followed: where to is for the operator to say.
#[derive(Clone)]
pub struct Client(Arc<Pool<HttpsConnector<HttpConnector>, Full<Bytes>>>);

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// There was an answer: its status, and the beginning of its body.
    Answered(u16, Bytes),
    /// There was none in time.
    TimedOut,
    /// There was no connection, or it broke: a sentence.
    Unreachable(String),
}

/// An address that requests cannot be sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no address like https://example.org/path", self.0)
    }
}

impl std::error::Error for UrlError {}

/// Can requests be sent there?
///
/// # Errors
/// When it is no absolute `http` or `https` address with a host, or has a name and a password in it, which would stand in logs.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    let bad = || UrlError(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if is_web && has_host && !authority.contains('@') { Ok(()) } else { Err(bad()) }
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// A sentence, when the machine's certificates cannot be read.
    pub fn new() -> Result<Self, String> {
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(aws_lc_rs::default_provider())
            .map_err(|error| {
                format!("this machine's certificates cannot be read ({error}): install ca-certificates")
            })?;
        let pool = Pool::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_TIME)
            .build(builder.https_or_http().enable_http1().build());
        Ok(Self(Arc::new(pool)))
    }

    /// Posts `body`, of type `content_type`, with this `Authorization`.
    pub async fn post(
        &self,
        url: &str,
        authorization: &str,
        content_type: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> Sent {
        self.send(Method::POST, url, authorization, Some(content_type), body, timeout).await
    }

    /// Gets an answer, with this `Authorization`.
    pub async fn get(&self, url: &str, authorization: &str, timeout: Duration) -> Sent {
        self.send(Method::GET, url, authorization, None, Bytes::new(), timeout).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        authorization: &str,
        content_type: Option<&'static str>,
        body: Bytes,
        timeout: Duration,
    ) -> Sent {
        let Ok(mut request) = Request::builder().method(method).uri(url).body(Full::new(body)) else {
            return Sent::Unreachable("the address is not good".to_owned());
        };
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        // A token has no character that a header may not have.
        headers.extend(HeaderValue::from_str(authorization).ok().map(|value| (AUTHORIZATION, value)));
        headers.extend(content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))));
        let exchange = async {
            match self.0.request(request).await {
                Ok(answer) => read(answer).await,
                Err(error) => Sent::Unreachable(in_full(&error)),
            }
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Sent::TimedOut)
    }
}

/// The status counts, even when the body does not come whole.
async fn read(answer: Response<Incoming>) -> Sent {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    Sent::Answered(status, body.map(|body| body.to_bytes()).unwrap_or_default())
}

/// An error with its causes: the outermost alone says next to nothing.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_a_host_and_no_secrets() {
        for good in ["http://127.0.0.1:8080/hook", "https://example.org", "http://[::1]:1/x?y=z"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "example.org/hook",
            "/hook",
            "ftp://example.org",
            "http://",
            "https://ann:secret@example.org/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
