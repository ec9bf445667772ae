//! HTTPS with a self-signed certificate, for trying Stoa from other machines: browsers give a camera to pages that came
//! over HTTPS, or from the machine itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// Handshakes at a time: what a browser opens at once, many times over. Beyond it, new connections wait.
const MAX_HANDSHAKES: usize = 256;
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the certificate holds. Some browsers refuse those of more than 398 days, whoever signed them.
const VALIDITY: Duration = Duration::from_secs(365 * 86_400);
/// First byte of a TLS connection: a handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// A TCP listener behind which connections come out decrypted.
pub struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local: SocketAddr,
    #[cfg(test)]
    certificate: CertificateDer<'static>,
}

impl TlsListener {
    /// Wraps a listener, with a fresh certificate for these addresses.
    pub fn new(listener: TcpListener, addresses: &[IpAddr]) -> io::Result<Self> {
        let (certificate, key) = certificate(addresses).map_err(io::Error::other)?;
        let configuration = configuration(certificate.clone(), key).map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(configuration));
        let local = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(16);
        tokio::spawn(accept_all(listener, acceptor, sender));
        Ok(Self {
            accepted,
            local,
            #[cfg(test)]
            certificate,
        })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // The accepting task ends with this receiver alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Each handshake has its own task: a slow one holds nobody up.
async fn accept_all(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while !sender.is_closed() {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        // Axum's listener waits out errors like a lack of file descriptors.
        let (stream, from) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = sender.closed() => return,
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match timeout(HANDSHAKE, handshake(stream, acceptor)).await {
                Ok(Ok(stream)) => drop(sender.send((stream, from)).await),
                Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS"),
                Err(_) => tracing::debug!(%from, "no TLS: the handshake took too long"),
            }
        });
    }
}

async fn handshake(mut stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        let advice = "This server speaks HTTPS: open the same address with https:// in front.\n";
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{advice}",
            advice.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        return Err(io::Error::other("the first byte is not TLS's"));
    }
    acceptor.accept(stream).await
}

fn certificate(
    addresses: &[IpAddr],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Stoa (development)");
    let now = SystemTime::now();
    // A day back, for clocks that run behind.
    params.not_before = (now - Duration::from_secs(86_400)).into();
    params.not_after = (now + VALIDITY).into();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    // Firefox refuses a second certificate with the same issuer and serial number.
    params.serial_number = Some(rand::random::<u64>().into());
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn configuration(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    /// A server that says hello, and a client that trusts its certificate alone.
    async fn hello() -> (SocketAddr, TlsConnector) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let listener = TlsListener::new(listener, &[]).expect("a certificate");
        let address = listener.local;
        let mut roots = RootCertStore::empty();
        roots.add(listener.certificate.clone()).expect("a certificate");
        let routes = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
        tokio::spawn(axum::serve(listener, routes).into_future());
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are some")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (address, TlsConnector::from(Arc::new(client)))
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_certificate_is_served_while_another_says_nothing() {
        let (address, connector) = hello().await;
        let _silent = TcpStream::connect(address).await.expect("it listens");
        let stream = TcpStream::connect(address).await.expect("it listens");
        let mut stream = connector.connect(address.ip().into(), stream).await.expect("a handshake");
        stream.write_all(REQUEST).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_without_tls_is_told_to_use_it() {
        let (address, _) = hello().await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(REQUEST).await.expect("it reads");
        let mut answer = Vec::new();
        // The connection may be reset after the answer, since not all of the request was read.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(String::from_utf8_lossy(&answer).contains("https://"), "{answer:?}");
    }
}
