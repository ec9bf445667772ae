//! The routes on a real listener, with a WebSocket client and an invented control plane behind them.

mod http;
mod resume;
mod signal;
mod support;
mod twirp;
