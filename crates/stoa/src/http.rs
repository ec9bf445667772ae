//! Serving HTTP/1.1: like axum's own loop, with bounds on what a stranger can hold.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};

/// Connections that wait for an answer or a request, at a time; beyond it new ones wait in the kernel's queue. WebSockets
/// are not counted: each stands for a participant, and rooms bound those. Of the 20,000 or more descriptors that a
/// process usually may have, this leaves most to them.
const MAX_CONNECTIONS: u32 = 4_096;
/// How long a connection may take over the head of a request, or say nothing before it: longer than a proxy's checks are
/// apart, short enough that idle ones do not pile up.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a request's head. Joins carry a session description in the request line: 64 kB, which is also the most that the
/// library takes for it, and as much again for headers.
const MAX_HEAD: usize = 128 << 10;

/// Serves `routes` until `stopped` turns true, then lets the requests that go on come to their end.
pub async fn serve<L: Listener>(mut listener: L, routes: Router, mut stopped: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let stop = stopped.clone();
    let accepting = async {
        while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
            let (stream, _) = listener.accept().await;
            let (routes, stop) = (routes.clone(), stop.clone());
            tokio::spawn(async move {
                connection::<L>(stream, routes, stop).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = is_true(&mut stopped) => {}
    }
    drop(listener);
    // All permits are back when all connections have ended. The semaphore is never closed.
    let _ = connections.acquire_many(MAX_CONNECTIONS).await;
}

async fn connection<L: Listener>(stream: L::Io, routes: Router, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(routes);
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_true(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Resets and bad requests are daily fare.
        tracing::debug!(%error, "HTTP connection ended");
    }
}

async fn is_true(value: &mut watch::Receiver<bool>) {
    // An error means that the other end is gone, which is the end too.
    let _ = value.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn start() -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = watch::channel(false);
        let routes = Router::new().route("/{*path}", get(|| async { "hello" }));
        (address, stop, tokio::spawn(serve(listener, routes, stopped)))
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        // What is refused before it was read may end in a reset.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn request_lines_of_tens_of_kilobytes_fit_and_endless_ones_do_not() {
        let (address, _stop, _) = start().await;
        let answer = ask(address, &format!("/x?{}", "A".repeat(60_000))).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        let answer = ask(address, &format!("/x?{}", "A".repeat(200_000))).await;
        assert!(!answer.contains("hello"), "{answer}");
    }

    #[tokio::test]
    async fn stopping_waits_for_no_idle_connection() {
        let (address, stop, serving) = start().await;
        let idle = TcpStream::connect(address).await.expect("it listens");
        assert!(ask(address, "/x").await.ends_with("hello"));
        stop.send_replace(true);
        timeout(PATIENCE, serving).await.expect("it ends in time").expect("it does not panic");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        drop(idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let (address, _stop, _) = start().await;
        let mut silent = TcpStream::connect(address).await.expect("it listens");
        let mut answer = Vec::new();
        // Virtual time: the runtime jumps to the next deadline when nothing else is to be done.
        let ended = timeout(HEAD * 2, silent.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "closed before twice the time");
    }
}
