//! The routes on a real listener, with a WebSocket client, and behind them an invented control plane, or the real one (`whole`).

mod agents;
mod bad_input;
mod http;
mod order;
mod resume;
mod signal;
mod support;
mod twirp;
mod whole;
