//! Which ICE session a PATCH is meant for (RFC 9725 section 4.3.1, RFC 9110 section 13.1.1).

use axum::http::StatusCode;

use crate::refusal::Refusal;

/// What the client said with `If-Match`, when it fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Match {
    /// `*`: whatever the session is.
    Any,
    /// The entity-tag of the session as it is.
    Exactly,
}

/// Holds the value of `If-Match` against the session's entity-tag, which is given without its quotes.
///
/// # Errors
/// 428 without a value, 412 when it does not match.
pub(crate) fn check(if_match: Option<&str>, current: &str) -> Result<Match, Refusal> {
    let Some(value) = if_match else {
        return Err(Refusal::new(
            StatusCode::PRECONDITION_REQUIRED,
            "say which ICE session this is for: If-Match with the ETag of the last answer, or with * to restart ICE",
        ));
    };
    // Some clients put quotes around the asterisk, as the RFC's example does.
    if matches!(value.trim(), "*" | "\"*\"") {
        return Ok(Match::Any);
    }
    // Comparison is strong: a weak tag (W/"…") matches nothing. Clients that drop the quotes mean the same tag.
    let mut tags = value.split(',').map(str::trim);
    let is_current = |tag: &str| {
        tag == current
            || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).is_some_and(|tag| tag == current)
    };
    if tags.any(is_current) {
        Ok(Match::Exactly)
    } else {
        Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "the session's ICE has been restarted since"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(if_match: Option<&str>) -> Result<Match, u16> {
        check(if_match, "abc").map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_patch_that_names_no_ice_session_is_asked_to() {
        assert_eq!(status(None), Err(428));
    }

    #[test]
    fn only_the_current_entity_tag_matches_and_never_a_weak_one() {
        assert_eq!(status(Some("\"abc\"")), Ok(Match::Exactly));
        assert_eq!(status(Some("\"old\", \"abc\"")), Ok(Match::Exactly));
        assert_eq!(status(Some("abc")), Ok(Match::Exactly));
        for value in ["\"old\"", "W/\"abc\"", "", "\"", "\"abc", "ab", "\"ABC\""] {
            assert_eq!(status(Some(value)), Err(412), "{value}");
        }
    }

    #[test]
    fn an_asterisk_matches_with_quotes_and_without() {
        for value in ["*", " * ", "\"*\""] {
            assert_eq!(status(Some(value)), Ok(Match::Any));
        }
    }
}
