//! Why a request is refused: a status, and a sentence for whoever set up the client.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use contract::session::JoinError;

use crate::metrics::{Metrics, count};

/// Seconds after which a client that found no place may ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A refused request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub text: String,
}

impl Refusal {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The offer is SDP, but nothing that can be served.
    pub fn offer(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    pub fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such session; it may have ended")
    }

    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// Counts it and tells it to the log.
    pub fn note(&self, metrics: &Metrics) {
        count(match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => &metrics.unauthorized,
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => {
                &metrics.stale
            }
            StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => &metrics.refused,
            _ => &metrics.malformed,
        });
        tracing::info!(status = self.status.as_u16(), reason = %self.text, "WHIP or WHEP request refused");
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        let status = match error {
            JoinError::NoSuchRoom => StatusCode::NOT_FOUND,
            JoinError::RoomFull => StatusCode::CONFLICT,
            JoinError::LimitExceeded => StatusCode::BAD_REQUEST,
            JoinError::Revoked => StatusCode::UNAUTHORIZED,
            JoinError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
