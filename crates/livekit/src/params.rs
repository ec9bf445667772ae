//! What a client says about itself when it joins: query parameters (two connections) or a join request (one).

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use base::CodecKind;
use base::model::Abilities;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use livekit_protocol as proto;
use livekit_protocol::client_info::{Capability, Sdk};
use livekit_protocol::signal_response::Message;
use prost::Message as _;
use serde::Deserialize;

use crate::shape;

/// Largest join request after decompression, in bytes. It carries one session description.
const MAX_JOIN_REQUEST: usize = 1024 * 1024;

/// Longest name or version of a client and what it runs on that is kept, in characters. Browsers' are the longest, with 150.
const MAX_NAME: usize = 256;

/// Capabilities of a client that others are told; there are three so far.
const MAX_CAPABILITIES: usize = 32;

/// Operating systems and device models whose H.264 encoders are known to be broken.
const BROKEN_H264: [(&str, &str); 1] = [("android", "Xiaomi 2201117TI")];

/// The query of `/rtc` and `/rtc/v1`. Everything is text here: clients write booleans and numbers in several ways.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Query {
    pub access_token: String,
    pub join_request: String,
    protocol: String,
    sdk: String,
    version: String,
    os: String,
    device_model: String,
    browser: String,
    auto_subscribe: String,
    auto_subscribe_data_track: String,
    client_protocol: String,
    capabilities: String,
    adaptive_stream: String,
    subscriber_allow_pause: String,
    reconnect: String,
    sid: String,
    reconnect_reason: String,
    attributes: String,
}

impl Query {
    /// For fuzzing: nothing but attributes.
    pub fn with_attributes(attributes: &str) -> Self {
        Self { attributes: attributes.to_owned(), ..Self::default() }
    }
}

/// What the client is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Client {
    pub sdk: Sdk,
    pub version: String,
    /// Protocol number that it speaks.
    pub protocol: i32,
    pub os: String,
    pub device_model: String,
    pub browser: String,
    /// From the HTTP header: browser clients on one connection do not name their browser otherwise.
    pub user_agent: String,
    pub abilities: Abilities,
}

impl Client {
    /// Browser clients find a track's id by the mid of its section, so that stream ids are free to group tracks.
    pub fn is_browser(&self) -> bool {
        self.sdk == Sdk::Js
    }

    /// Firefox, or a browser that cannot be told from it, since a proxy took the header away: what is done for Firefox
    /// works with all of them.
    pub fn may_be_firefox(&self) -> bool {
        let unknown = self.browser.is_empty() && self.user_agent.is_empty();
        unknown || self.browser.eq_ignore_ascii_case("firefox") || self.user_agent.contains("Firefox/")
    }

    /// Safari, on whatever device, and the other browsers of iOS, which are made of the same.
    fn is_safari(&self) -> bool {
        let agent = &self.user_agent;
        let webkit =
            agent.contains("AppleWebKit/") && !agent.contains("Chrome/") && !agent.contains("Chromium/");
        webkit || self.browser.eq_ignore_ascii_case("safari")
    }

    /// May a section that has carried a track carry another one? Protocol 4 says so; Safari goes on with the old track.
    pub fn reuses_sections(&self) -> bool {
        self.protocol >= 4 && !self.is_safari()
    }

    /// The client for microcontrollers gives up when it is told of no ICE server.
    pub fn needs_ice_server(&self) -> bool {
        self.sdk == Sdk::Esp32
    }

    /// Can it make something of this message? What came into the protocol after it is not sent.
    pub fn understands(&self, message: &Message) -> bool {
        self.protocol >= since(message) && !self.cannot_decode(message)
    }

    /// It knows what publishers append to frames.
    pub fn knows_trailers(&self) -> bool {
        self.abilities.features.contains(&(Capability::CapPacketTrailer as i32))
    }

    /// It may know which of its audio codecs are wanted: that is younger than protocol 15.
    pub fn knows_audio_codecs(&self) -> bool {
        self.protocol >= 16
    }

    /// It knows that a connection can be lost; others are told that it is poor.
    pub fn knows_lost(&self) -> bool {
        self.protocol >= 11
    }

    /// Native clients before protocol 10 end the session at a message that they do not know.
    fn cannot_decode(&self, message: &Message) -> bool {
        let newer = matches!(
            message,
            Message::TrackSubscribed(_)
                | Message::RequestResponse(_)
                | Message::SubscriptionResponse(_)
                | Message::MediaSectionsRequirement(_)
                | Message::DataTrackSubscriberHandles(_)
        );
        newer && self.sdk == Sdk::Rust && self.protocol < 10
    }

    /// A codec whose encoder on this device makes pictures that others cannot decode.
    pub fn broken_encoder(&self) -> Option<CodecKind> {
        let is = |(os, model): &&(&str, &str)| {
            self.os.eq_ignore_ascii_case(os) && self.device_model.eq_ignore_ascii_case(model)
        };
        BROKEN_H264.iter().find(is).map(|_| CodecKind::H264)
    }

    /// It is kept as long as the session, and logged.
    fn shorten(&mut self) {
        let texts = [
            &mut self.version,
            &mut self.os,
            &mut self.device_model,
            &mut self.browser,
            &mut self.user_agent,
        ];
        for text in texts {
            let end = text.char_indices().nth(MAX_NAME).map_or(text.len(), |(at, _)| at);
            text.truncate(end);
            text.shrink_to_fit();
        }
    }

    /// For logs.
    pub fn describe(&self) -> String {
        let sdk = self.sdk.as_str_name().to_ascii_lowercase();
        format!("{sdk} {} protocol {} {} {}", self.version, self.protocol, self.os, self.browser)
    }
}

/// The protocol number with which a message came. Those of later protocols that answer a request of the client's are not here:
/// who does not know the answer does not ask.
fn since(message: &Message) -> i32 {
    match message {
        Message::SpeakersChanged(_) => 3,
        Message::ConnectionQuality(_) => 5,
        Message::TrackUnpublished(_) => 7,
        Message::RoomMoved(_) => 16,
        _ => 0,
    }
}

/// What the client wants.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub client: Client,
    /// One peer connection, on which the client always offers.
    pub single: bool,
    pub auto_subscribe: bool,
    /// As in LiveKit's server, data tracks are subscribed one by one by those who do not ask for all of them: their packets
    /// would go nowhere in clients that do not expect them.
    pub auto_subscribe_data: bool,
    pub adaptive_stream: bool,
    /// Videos may be paused when the connection does not carry them; `None`: it does not say.
    pub allow_pause: Option<bool>,
    /// It wants to go on with a session that it had.
    pub reconnect: bool,
    /// Which one; empty: it does not say.
    pub participant_sid: String,
    /// Why: a number of `ReconnectReason`.
    pub reconnect_reason: i32,
    /// Going on: what it has.
    pub sync_state: Option<proto::SyncState>,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
    pub tracks: Vec<proto::AddTrackRequest>,
    pub offer: Option<proto::SessionDescription>,
}

/// The join request cannot be read; the text says why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadJoinRequest(pub &'static str);

impl Params {
    /// From the query; a join request in it decides, whatever the path.
    ///
    /// # Errors
    /// [`BadJoinRequest`] when there is one and it cannot be read.
    pub fn from_query(query: &Query, user_agent: &str) -> Result<Self, BadJoinRequest> {
        let mut params = if query.join_request.is_empty() {
            Self::two_connections(query)
        } else {
            Self::one_connection(decode_join_request(&query.join_request)?)
        };
        params.client.user_agent = user_agent.to_owned();
        params.client.shorten();
        Ok(params)
    }

    /// For fuzzing: a client of the newest protocol on two connections.
    pub fn two_for_fuzzing() -> Self {
        let query = Query { protocol: "17".to_owned(), ..Query::default() };
        Self::two_connections(&query)
    }

    fn two_connections(query: &Query) -> Self {
        let flag = |text: &str| text == "1" || text.eq_ignore_ascii_case("true");
        Self {
            client: Client {
                sdk: parse_sdk(&query.sdk),
                version: query.version.clone(),
                protocol: query.protocol.parse().unwrap_or_default(),
                os: query.os.clone(),
                device_model: query.device_model.clone(),
                browser: query.browser.clone(),
                user_agent: String::new(),
                abilities: Abilities {
                    version: query.client_protocol.parse().unwrap_or_default(),
                    features: parse_capabilities(&query.capabilities),
                },
            },
            single: false,
            auto_subscribe: query.auto_subscribe.is_empty() || flag(&query.auto_subscribe),
            auto_subscribe_data: flag(&query.auto_subscribe_data_track),
            adaptive_stream: flag(&query.adaptive_stream),
            allow_pause: Some(&query.subscriber_allow_pause)
                .filter(|text| !text.is_empty())
                .map(|text| flag(text)),
            reconnect: flag(&query.reconnect),
            participant_sid: query.sid.clone(),
            reconnect_reason: query.reconnect_reason.parse().unwrap_or_default(),
            sync_state: None,
            metadata: String::new(),
            attributes: decode_attributes(&query.attributes),
            tracks: Vec::new(),
            offer: None,
        }
    }

    fn one_connection(request: proto::JoinRequest) -> Self {
        let info = request.client_info.unwrap_or_default();
        let settings = request.connection_settings.unwrap_or_default();
        Self {
            client: Client {
                sdk: info.sdk(),
                version: info.version,
                protocol: info.protocol,
                os: info.os,
                device_model: info.device_model,
                browser: info.browser,
                user_agent: String::new(),
                abilities: Abilities {
                    version: info.client_protocol,
                    features: info.capabilities.into_iter().take(MAX_CAPABILITIES).collect(),
                },
            },
            single: true,
            auto_subscribe: settings.auto_subscribe,
            auto_subscribe_data: settings.auto_subscribe_data_track.unwrap_or_default(),
            adaptive_stream: settings.adaptive_stream,
            allow_pause: settings.subscriber_allow_pause,
            reconnect: request.reconnect,
            participant_sid: request.participant_sid,
            reconnect_reason: request.reconnect_reason,
            sync_state: request.sync_state,
            metadata: request.metadata,
            attributes: request.participant_attributes.into_iter().collect(),
            tracks: request.add_track_requests,
            offer: request.publisher_offer,
        }
    }
}

/// Names with commas between them; those that this server does not know have no number by which others could be told.
fn parse_capabilities(text: &str) -> Vec<i32> {
    let known = text.split(',').filter_map(|name| Capability::from_str_name(name.trim()));
    known.take(MAX_CAPABILITIES).map(|known| known as i32).collect()
}

fn parse_sdk(text: &str) -> Sdk {
    match text.to_ascii_lowercase().as_str() {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "esp32" => Sdk::Esp32,
        _ => Sdk::Unknown,
    }
}

/// Base64 of either alphabet, with or without padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

fn decode_attributes(text: &str) -> BTreeMap<String, String> {
    let json = (!text.is_empty()).then(|| decode_base64(text)).flatten();
    let map: HashMap<String, String> =
        json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    map.into_iter().collect()
}

fn decode_join_request(text: &str) -> Result<proto::JoinRequest, BadJoinRequest> {
    let bytes = decode_base64(text).ok_or(BadJoinRequest("join_request is not base64"))?;
    let wrapped = proto::WrappedJoinRequest::decode(bytes.as_slice())
        .map_err(|_| BadJoinRequest("join_request is not a WrappedJoinRequest"))?;
    let inner = match wrapped.compression() {
        proto::wrapped_join_request::Compression::None => wrapped.join_request,
        proto::wrapped_join_request::Compression::Gzip => gunzip(&wrapped.join_request)?,
    };
    if !shape::is_sane(&inner) {
        return Err(BadJoinRequest("join_request has too many fields"));
    }
    proto::JoinRequest::decode(inner.as_slice())
        .map_err(|_| BadJoinRequest("join_request does not contain a JoinRequest"))
}

/// Reads one byte more than allowed, so that a bomb is told from a request of exactly that size, and no further.
fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, BadJoinRequest> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(MAX_JOIN_REQUEST as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| BadJoinRequest("join_request is not gzip, though it says so"))?;
    if out.len() > MAX_JOIN_REQUEST {
        return Err(BadJoinRequest("join_request is larger than 1 MiB"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_clients_have_to_know_of_a_client_is_read_in_both_forms() {
        let query = Query {
            client_protocol: "2".to_owned(),
            capabilities: "CAP_PACKET_TRAILER,CAP_OF_TOMORROW,CAP_COMPRESSION_DEFLATE_RAW".to_owned(),
            auto_subscribe_data_track: "true".to_owned(),
            ..Query::default()
        };
        let params = Params::from_query(&query, "").expect("valid");
        assert_eq!(params.client.abilities, Abilities { version: 2, features: vec![1, 2] });
        assert!(params.auto_subscribe_data);
        let info = proto::ClientInfo { client_protocol: 1, capabilities: vec![1; 100], ..Default::default() };
        let request = proto::JoinRequest { client_info: Some(info), ..Default::default() };
        let params = Params::one_connection(request);
        assert_eq!(params.client.abilities, Abilities { version: 1, features: vec![1; MAX_CAPABILITIES] });
        assert!(!params.auto_subscribe_data, "who says nothing subscribes one by one");
    }

    #[test]
    fn whether_videos_may_be_paused_is_said_or_left_open() {
        for (text, expected) in [("", None), ("1", Some(true)), ("false", Some(false)), ("0", Some(false))] {
            let query = Query { subscriber_allow_pause: text.to_owned(), ..Query::default() };
            assert_eq!(Params::from_query(&query, "").expect("valid").allow_pause, expected, "{text}");
        }
    }

    #[test]
    fn a_kilobyte_does_not_unfold_to_hundreds_of_megabytes() {
        use std::io::Write as _;
        // Empty AddTrackRequests.
        let bytes = [5 << 3 | 2, 0].repeat(MAX_JOIN_REQUEST / 2);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&bytes).expect("memory takes it");
        let join_request = encoder.finish().expect("memory takes it");
        assert!(join_request.len() < 2_000);
        let wrapped = proto::WrappedJoinRequest { compression: 1, join_request };
        let text = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
        assert_eq!(decode_join_request(&text), Err(BadJoinRequest("join_request has too many fields")));
    }

    #[test]
    fn a_client_cannot_fill_the_log_with_its_name() {
        let info = proto::ClientInfo { version: "\u{e9}".repeat(500_000), ..Default::default() };
        let request = proto::JoinRequest { client_info: Some(info), ..Default::default() };
        let wrapped =
            proto::WrappedJoinRequest { join_request: request.encode_to_vec(), ..Default::default() };
        let join_request = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
        let query = Query { join_request, ..Query::default() };
        let params = Params::from_query(&query, "Firefox/1").expect("it can be read");
        assert!(params.client.describe().len() < 1_024);
    }
}
