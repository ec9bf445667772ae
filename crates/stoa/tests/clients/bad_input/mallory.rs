//! Somebody with a good token and a bad mind: signal messages written by hand, byte for byte.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt as _, StreamExt as _};
use sdp::{Direction, Document, Ice, OutBody, OutSection, Role, Transport};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::PATIENCE;
use crate::server::Server;

/// Field numbers of LiveKit's messages.
pub mod field {
    /// `SignalRequest.offer`
    pub const OFFER: u8 = 1;
    /// `SignalResponse.answer`
    pub const ANSWER: u8 = 2;
    /// `SignalResponse.leave`
    pub const LEAVE: u8 = 8;
}

/// An open signal socket.
pub struct Mallory {
    stream: WebSocketStream<TcpStream>,
}

impl Mallory {
    /// Joins with this `join_request`; the error is the HTTP status and text.
    pub async fn try_join(server: &Server, token: &str, join_request: &str) -> Result<Self, (u16, String)> {
        let stream = TcpStream::connect(server.address).await.expect("it listens");
        let url = format!("ws://{}/rtc/v1?access_token={token}&join_request={join_request}", server.address);
        match client_async(url, stream).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
            }
            Err(error) => panic!("neither in nor refused: {error}"),
        }
    }

    /// Joins without an offer.
    pub async fn join(server: &Server, room: &str) -> Self {
        let request = wrap(1, &gzip(b""));
        Self::try_join(server, &server.token(room, "mallory"), &request).await.expect("the token is good")
    }

    /// Sends a frame; the server may be gone already.
    pub async fn send(&mut self, frame: Frame) {
        let _ = self.stream.send(frame).await;
    }

    /// Reads until a message has this field; `None` when the server closes before.
    pub async fn wait_for(&mut self, field: u8) -> Option<Vec<u8>> {
        let read = async {
            while let Some(Ok(frame)) = self.stream.next().await {
                let found = match &frame {
                    Frame::Binary(bytes) => unwrap(bytes, field).map(<[u8]>::to_vec),
                    // Who speaks JSON is answered in JSON.
                    Frame::Text(text) if field == field::LEAVE && text.starts_with(r#"{"leave":"#) => {
                        Some(Vec::new())
                    }
                    _ => None,
                };
                if found.is_some() {
                    return found;
                }
            }
            None
        };
        timeout(PATIENCE, read).await.expect("the server says something or closes")
    }

    /// The server says that the session is over, and closes.
    pub async fn expect_thrown_out(mut self) {
        assert!(self.wait_for(field::LEAVE).await.is_some(), "closed without a Leave");
        assert_eq!(self.wait_for(0).await, None);
    }

    /// The server closes, or says whatever it says and closes.
    pub async fn expect_closed(mut self) {
        assert_eq!(self.wait_for(0).await, None);
    }
}

/// A field of bytes in protobuf's form.
pub fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(content);
    out
}

/// The content of a message that has this field of bytes, first or alone.
fn unwrap(message: &[u8], number: u8) -> Option<&[u8]> {
    let (tag, mut rest) = message.split_first()?;
    if *tag != number << 3 | 2 {
        return None;
    }
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return rest.get(..len);
        }
    }
}

/// `SessionDescription` of type offer.
pub fn description(sdp: &str) -> Vec<u8> {
    [bytes_field(1, b"offer"), bytes_field(2, sdp.as_bytes())].concat()
}

/// `JoinRequest` with an offer in it.
pub fn join_with(sdp: &str) -> Vec<u8> {
    bytes_field(6, &description(sdp))
}

/// `WrappedJoinRequest` in base64. `compression`: 0 none, 1 gzip.
pub fn wrap(compression: u8, content: &[u8]) -> String {
    let mut message = vec![1 << 3, compression];
    message.extend(bytes_field(2, content));
    URL_SAFE.encode(message)
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

/// A good offer with data channels and an audio section, for a client with these credentials.
pub fn offer(ufrag: &str, password: &str, fingerprint: [u8; 32]) -> String {
    let mid = |text: &str| base::Mid::new(text.as_bytes()).expect("a mid");
    let audio = OutBody::Media {
        kind: base::MediaKind::Audio,
        direction: Direction::RecvOnly,
        codecs: sdp::offered_codecs(base::MediaKind::Audio, None),
        extensions: sdp::offered_extensions(base::MediaKind::Audio),
        rids: Vec::new(),
        downlink: None,
    };
    let document = Document {
        role: Role::ClientOffer,
        session_id: 1,
        version: 1,
        extmap_allow_mixed: true,
        transport: Transport {
            ice: Ice { ufrag: ufrag.to_owned(), password: password.to_owned() },
            fingerprint,
            candidates: Vec::new(),
        },
        sections: vec![
            OutSection { mid: mid("0"), body: OutBody::Data { max_message_size: 65_536 } },
            OutSection { mid: mid("1"), body: audio },
        ],
    };
    document.write()
}

/// The text of the description in an answer.
pub fn sdp_in(answer: &[u8]) -> String {
    // `type` comes first; `sdp` follows.
    let kind = unwrap(answer, 1).expect("a type");
    let rest = &answer[2 + kind.len()..];
    String::from_utf8(unwrap(rest, 2).expect("a description").to_vec()).expect("text")
}
