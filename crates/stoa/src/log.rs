//! Log lines: which, and in what form.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Is this a filter of log lines?
pub fn is_filter(text: &str) -> bool {
    // The filter takes any word for the name of a crate; a word alone is meant as a level.
    let mut parts = text.split(',').map(str::trim);
    parts.all(|part| part.contains(['=', ':', '[']) || part.parse::<tracing::Level>().is_ok())
        && EnvFilter::try_new(text).is_ok()
}

/// Starts logging to standard error. `filter` has been held against [`is_filter`].
pub fn start(filter: &str, format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
