//! The signal socket: TCP, TLS where the address says so, WebSocket; messages in protobuf.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::error::ConnectError;

/// Where Linux distributions keep the certificates of authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A message that the socket has not taken for this long never goes: its path is dead, and everything else waits behind it.
const SENDING: Duration = Duration::from_secs(10);
/// How long the last words may take.
const CLOSING: Duration = Duration::from_secs(1);

/// A byte stream, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a server is, taken from its address.
struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// Scheme, host and path without a slash at the end.
    base: String,
}

/// A TCP connection to the server, before anything is said on it.
pub(crate) struct Dialled {
    target: Target,
    stream: TcpStream,
    /// The address of ours from which the server is reached.
    pub local: IpAddr,
}

/// The same with TLS, where the address asks for it.
pub(crate) struct Secured {
    base: String,
    stream: Box<dyn Stream>,
}

/// The signal socket.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
}

/// Opens the TCP connection.
pub(crate) async fn dial(url: &str) -> Result<Dialled, ConnectError> {
    let target = parse(url)?;
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    // Signal messages are small and wait for each other.
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?.ip();
    Ok(Dialled { target, stream, local })
}

fn parse(url: &str) -> Result<Target, ConnectError> {
    let bad = |reason: &str| ConnectError::Address(format!("{url}: {reason}"));
    let uri: Uri = url.parse().map_err(|_| bad("not an address"))?;
    let tls = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(bad("it must start with ws:// or wss://")),
    };
    let host = uri.host().ok_or_else(|| bad("it names no host"))?;
    let base = format!("{}://{}{}", if tls { "wss" } else { "ws" }, host_and_port(&uri), uri.path());
    Ok(Target {
        tls,
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        base: base.trim_end_matches('/').to_owned(),
    })
}

fn host_and_port(uri: &Uri) -> &str {
    uri.authority().map(|authority| authority.as_str()).unwrap_or_default()
}

impl Dialled {
    /// TLS, where the address asks for it. `trust`: the certificates that it accepts.
    pub async fn secure(self, trust: &[Vec<u8>]) -> Result<Secured, ConnectError> {
        let stream: Box<dyn Stream> = if self.target.tls {
            encrypt(self.stream, &self.target.host, trust).await?
        } else {
            Box::new(self.stream)
        };
        Ok(Secured { base: self.target.base, stream })
    }
}

impl Secured {
    /// Asks for the signal socket, version 1.
    pub async fn open(self, token: &str, join_request: &str) -> Result<Socket, ConnectError> {
        let url = format!("{}/rtc/v1?join_request={join_request}", self.base);
        let mut request =
            url.into_client_request().map_err(|error| ConnectError::Address(error.to_string()))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ConnectError::Address("the token is not printable text".to_owned()))?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let (stream, _) = client_async(request, self.stream).await.map_err(refused)?;
        Ok(Socket { stream })
    }
}

/// A WebSocket whose messages are somebody else's to read.
pub(crate) struct MessageSocket {
    stream: WebSocketStream<Box<dyn Stream>>,
}

/// What came on it.
pub(crate) enum Heard {
    /// A message, text or binary.
    Message(Bytes),
    /// Something that only shows that the server is there.
    Alive,
    /// It is closed or broken; 1006 when no code was said.
    Closed {
        /// The code of the closing frame.
        code: u16,
        /// For people.
        why: String,
    },
}

impl Secured {
    /// Asks for a WebSocket at `path`, with a subprotocol.
    pub async fn open_messages(
        self,
        path: &str,
        subprotocol: &'static str,
    ) -> Result<MessageSocket, ConnectError> {
        let mut request = format!("{}{path}", self.base)
            .into_client_request()
            .map_err(|error| ConnectError::Address(error.to_string()))?;
        let subprotocol = HeaderValue::from_static(subprotocol);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        let (stream, _) = client_async(request, self.stream).await.map_err(refused)?;
        Ok(MessageSocket { stream })
    }
}

impl MessageSocket {
    /// The next message. Nothing is lost when it is dropped half-way.
    pub async fn next(&mut self) -> Heard {
        match self.stream.next().await {
            Some(Ok(Frame::Text(text))) => Heard::Message(text.into()),
            Some(Ok(Frame::Binary(bytes))) => Heard::Message(bytes),
            Some(Ok(Frame::Close(Some(frame)))) => {
                Heard::Closed { code: frame.code.into(), why: frame.reason.to_string() }
            }
            Some(Ok(Frame::Close(None))) | None => Heard::Closed { code: 1006, why: String::new() },
            Some(Ok(_)) => Heard::Alive,
            Some(Err(error)) => Heard::Closed { code: 1006, why: error.to_string() },
        }
    }

    /// Sends a message; `false` when the socket is gone, or as good as gone.
    pub async fn send(&mut self, binary: bool, message: Vec<u8>) -> bool {
        let frame = if binary {
            Frame::Binary(message.into())
        } else {
            Frame::text(String::from_utf8_lossy(&message).into_owned())
        };
        matches!(timeout(SENDING, self.stream.send(frame)).await, Ok(Ok(())))
    }

    /// Closes it.
    pub async fn close(mut self) {
        let _ = timeout(CLOSING, self.stream.close(None)).await;
    }
}

async fn encrypt(stream: TcpStream, host: &str, trust: &[Vec<u8>]) -> Result<Box<dyn Stream>, ConnectError> {
    let failed = |reason: String| ConnectError::Tls(reason);
    let mut roots = RootCertStore::empty();
    for certificate in trust {
        roots.add(CertificateDer::from(certificate.clone())).map_err(|error| failed(error.to_string()))?;
    }
    if trust.is_empty() {
        // Single entries that cannot be read are passed over, as everywhere.
        roots.add_parsable_certificates(of_this_machine());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| failed(error.to_string()))?;
    Ok(Box::new(stream))
}

/// The certificates that this machine trusts.
fn of_this_machine() -> Vec<CertificateDer<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let mut files = named.into_iter().chain(BUNDLES.iter().map(Into::into));
    let read = files.find_map(|file| CertificateDer::pem_file_iter(file).ok());
    read.map(|certificates| certificates.flatten().collect()).unwrap_or_default()
}

fn refused(error: tungstenite::Error) -> ConnectError {
    match error {
        tungstenite::Error::Http(response) => ConnectError::Refused {
            status: response.status().as_u16(),
            text: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).trim().to_owned(),
        },
        tungstenite::Error::Io(error) => ConnectError::Io(error),
        error => ConnectError::Protocol(error.to_string()),
    }
}

/// What came.
pub(crate) enum Incoming {
    /// A message; `None` for one that this client does not know.
    Message(Option<Box<proto::signal_response::Message>>),
    /// Something that only shows that the server is there.
    Alive,
    /// The socket is closed or broken; the text says how.
    Closed(String),
}

impl Socket {
    /// The next message. Nothing is lost when it is dropped half-way.
    pub async fn next(&mut self) -> Incoming {
        match self.stream.next().await {
            Some(Ok(Frame::Binary(bytes))) => match proto::SignalResponse::decode(bytes) {
                Ok(response) => Incoming::Message(response.message.map(Box::new)),
                Err(error) => Incoming::Closed(format!("a frame is no signal message: {error}")),
            },
            Some(Ok(Frame::Close(frame))) => {
                Incoming::Closed(frame.map(|frame| frame.to_string()).unwrap_or_default())
            }
            Some(Ok(_)) => Incoming::Alive,
            Some(Err(error)) => Incoming::Closed(error.to_string()),
            None => Incoming::Closed("it was closed".to_owned()),
        }
    }

    /// Sends a request; `false` when the socket is gone, or as good as gone.
    pub async fn send(&mut self, message: proto::signal_request::Message) -> bool {
        let request = proto::SignalRequest { message: Some(message) };
        let sending = self.stream.send(Frame::Binary(request.encode_to_vec().into()));
        matches!(timeout(SENDING, sending).await, Ok(Ok(())))
    }

    /// Closes it; the server may be gone, then there is nobody to say it to.
    pub async fn close(mut self) {
        let _ = timeout(CLOSING, self.stream.close(None)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    #[test]
    fn an_address_may_have_a_path_and_a_slash_at_its_end() {
        for (url, host, port, base) in [
            ("ws://localhost:7880", "localhost", 7880, "ws://localhost:7880"),
            ("wss://example.org/", "example.org", 443, "wss://example.org"),
            ("ws://[::1]:7880/stoa/", "::1", 7880, "ws://[::1]:7880/stoa"),
        ] {
            let target = parse(url).expect("it is good");
            assert_eq!((target.host.as_str(), target.port, target.base.as_str()), (host, port, base));
        }
        for url in ["", "localhost:7880", "http://localhost", "ws://", "ws://a b"] {
            assert!(matches!(parse(url), Err(ConnectError::Address(_))), "{url}");
        }
    }

    /// Refuses whoever comes over TLS, with a status and a sentence. Returns its address and certificate.
    async fn refusing_server() -> (String, Vec<u8>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let der = certificate.der().to_vec();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are some")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("they belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("localhost:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nno token\n";
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (format!("wss://localhost:{port}"), der)
    }

    async fn outcome(url: &str, trust: &[Vec<u8>]) -> ConnectError {
        let dialled = dial(url).await.expect("it listens");
        let opened = match dialled.secure(trust).await {
            Ok(secured) => secured.open("token", "request").await,
            Err(error) => Err(error),
        };
        opened.err().expect("nobody is let in")
    }

    #[tokio::test]
    async fn a_refusal_over_tls_comes_with_its_reason_when_the_certificate_is_trusted() {
        let (url, certificate) = refusing_server().await;
        match outcome(&url, &[certificate]).await {
            ConnectError::Refused { status: 401, text } => assert_eq!(text, "no token"),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_trusted_is_not_talked_to() {
        let (url, _) = refusing_server().await;
        assert!(matches!(outcome(&url, &[]).await, ConnectError::Tls(_)));
        let (_, other) = refusing_server().await;
        assert!(matches!(outcome(&url, &[other]).await, ConnectError::Tls(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_takes_nothing_any_more_is_given_up_and_closed_in_time() {
        let (ours, _nobody_reads) = tokio::io::duplex(64);
        let stream: Box<dyn Stream> = Box::new(ours);
        let stream =
            WebSocketStream::from_raw_socket(stream, tungstenite::protocol::Role::Client, None).await;
        let mut socket = Socket { stream };
        let started = tokio::time::Instant::now();
        let long = proto::MuteTrackRequest { sid: "x".repeat(100), muted: true };
        assert!(!socket.send(proto::signal_request::Message::Mute(long)).await);
        assert_eq!(started.elapsed(), SENDING);
        socket.close().await;
        assert_eq!(started.elapsed(), SENDING + CLOSING);
    }

    #[tokio::test]
    async fn nobody_at_the_other_end_is_an_error_of_the_network() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        assert!(matches!(dial(&format!("ws://127.0.0.1:{port}")).await, Err(ConnectError::Io(_))));
    }
}
