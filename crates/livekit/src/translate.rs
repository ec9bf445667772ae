//! Domain values to and from LiveKit's messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::model::{
    AudioFeature, BackupPolicy, DataKind, Encryption, KindDetail, LeaveReason, Participant, ParticipantKind,
    ParticipantState, Permissions, Quality, RoomInfo, Speaker, Track, TrackSource, VideoLayer,
};
use base::{CodecKind, MediaKind, ParticipantId};
use livekit_protocol as proto;

use crate::{data_tracks, ids};

pub(crate) fn room(info: &RoomInfo) -> proto::Room {
    proto::Room {
        sid: ids::room(info.id),
        name: info.name.to_string(),
        empty_timeout: info.empty_timeout_s,
        departure_timeout: info.departure_timeout_s,
        max_participants: info.max_participants,
        creation_time: (info.created_at.0 / 1_000) as i64,
        creation_time_ms: info.created_at.0 as i64,
        metadata: info.metadata.clone(),
        num_participants: info.participants,
        num_publishers: info.publishers,
        active_recording: info.recording,
        ..proto::Room::default()
    }
}

pub(crate) fn participant(participant: &Participant) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: ids::participant(participant.id),
        identity: participant.identity.to_string(),
        state: state(participant.state) as i32,
        tracks: participant.tracks.iter().map(track).collect(),
        data_tracks: participant.data_tracks.iter().map(data_tracks::info).collect(),
        metadata: participant.metadata.clone(),
        joined_at: (participant.joined_at.0 / 1_000) as i64,
        joined_at_ms: participant.joined_at.0 as i64,
        name: participant.name.clone(),
        version: participant.version,
        permission: Some(permissions(&participant.permissions)),
        is_publisher: participant.is_publisher(),
        kind: kind(participant.kind) as i32,
        kind_details: participant.kind_details.iter().map(|detail| kind_detail(*detail) as i32).collect(),
        client_protocol: participant.abilities.version,
        capabilities: participant.abilities.features.clone(),
        attributes: participant.attributes.clone().into_iter().collect(),
        disconnect_reason: participant.left.map(reason).unwrap_or_default() as i32,
        ..proto::ParticipantInfo::default()
    }
}

/// Participants that changed, came or went.
pub(crate) fn update(participants: &[Arc<Participant>]) -> proto::ParticipantUpdate {
    proto::ParticipantUpdate { participants: participants.iter().map(|one| participant(one)).collect() }
}

fn state(state: ParticipantState) -> proto::participant_info::State {
    use proto::participant_info::State;
    match state {
        ParticipantState::Joining => State::Joining,
        ParticipantState::Joined => State::Joined,
        ParticipantState::Active => State::Active,
        ParticipantState::Disconnected => State::Disconnected,
    }
}

fn kind(kind: ParticipantKind) -> proto::participant_info::Kind {
    use proto::participant_info::Kind;
    match kind {
        ParticipantKind::Standard => Kind::Standard,
        ParticipantKind::Ingress => Kind::Ingress,
        ParticipantKind::Egress => Kind::Egress,
        ParticipantKind::Sip => Kind::Sip,
        ParticipantKind::Agent => Kind::Agent,
        ParticipantKind::Connector => Kind::Connector,
        ParticipantKind::Bridge => Kind::Bridge,
    }
}

fn kind_detail(detail: KindDetail) -> proto::participant_info::KindDetail {
    use proto::participant_info::KindDetail as Detail;
    match detail {
        KindDetail::CloudAgent => Detail::CloudAgent,
        KindDetail::Forwarded => Detail::Forwarded,
        KindDetail::ConnectorWhatsapp => Detail::ConnectorWhatsapp,
        KindDetail::ConnectorTwilio => Detail::ConnectorTwilio,
        KindDetail::BridgeRtsp => Detail::BridgeRtsp,
        KindDetail::Simulation => Detail::Simulation,
    }
}

fn permissions(permissions: &Permissions) -> proto::ParticipantPermission {
    let sources = permissions.publish_sources.iter().flatten();
    #[allow(deprecated, reason = "clients tell agents and recorders by them")]
    proto::ParticipantPermission {
        can_subscribe: permissions.subscribe,
        can_publish: permissions.publish,
        can_publish_data: permissions.publish_data,
        can_publish_sources: sources.map(|source| self::source(*source) as i32).collect(),
        hidden: permissions.hidden,
        can_update_metadata: permissions.update_own_metadata,
        can_subscribe_metrics: permissions.subscribe_metrics,
        recorder: permissions.recorder,
        agent: permissions.agent,
        ..proto::ParticipantPermission::default()
    }
}

/// What is not said is not allowed. An empty list of sources allows all of them; sources that nobody knows allow nothing.
pub(crate) fn parse_permissions(permission: &proto::ParticipantPermission) -> Permissions {
    let sources = permission.can_publish_sources.iter().map(|source| parse_source(*source));
    let sources: Vec<TrackSource> = sources.filter(|source| *source != TrackSource::Unknown).collect();
    #[allow(deprecated, reason = "they are told so, too")]
    Permissions {
        publish: permission.can_publish,
        publish_sources: (!permission.can_publish_sources.is_empty()).then_some(sources),
        subscribe: permission.can_subscribe,
        publish_data: permission.can_publish_data,
        update_own_metadata: permission.can_update_metadata,
        hidden: permission.hidden,
        recorder: permission.recorder,
        agent: permission.agent,
        subscribe_metrics: permission.can_subscribe_metrics,
    }
}

/// The answer to an AddTrack.
pub(crate) fn published(cid: &str, published: &Track) -> proto::TrackPublishedResponse {
    proto::TrackPublishedResponse { cid: cid.to_owned(), track: Some(track(published)) }
}

pub(crate) fn track(track: &Track) -> proto::TrackInfo {
    let layers = layers(track);
    let mime_type = track.codec.mime().to_owned();
    let codec = proto::SimulcastCodecInfo {
        mime_type: mime_type.clone(),
        mid: track.mid.map(|mid| mid.to_string()).unwrap_or_default(),
        cid: track.cid.clone(),
        layers: layers.clone(),
        video_layer_mode: layer_mode(track.codec, track.simulcast) as i32,
        sdp_cid: track.sdp_cid.clone(),
    };
    let mid = codec.mid.clone();
    let codecs = std::iter::once(codec).chain(backup(track)).collect();
    #[allow(deprecated, reason = "older clients read the fields that newer ones find in `codecs`")]
    proto::TrackInfo {
        sid: ids::track(track.id),
        r#type: match track.kind {
            MediaKind::Audio => proto::TrackType::Audio as i32,
            MediaKind::Video => proto::TrackType::Video as i32,
        },
        name: track.name.clone(),
        muted: track.muted,
        width: track.width,
        height: track.height,
        simulcast: track.simulcast,
        disable_dtx: track.no_dtx,
        source: source(track.source) as i32,
        layers,
        mid,
        mime_type,
        codecs,
        stereo: track.stereo,
        disable_red: track.disable_red,
        encryption: encryption(track.encryption) as i32,
        stream: track.stream.clone(),
        audio_features: audio_features(track),
        backup_codec_policy: backup_policy(track) as i32,
        packet_trailer_features: track.trailers.iter().copied().collect(),
        ..proto::TrackInfo::default()
    }
}

/// The second encoding, while it is sent.
fn backup(track: &Track) -> Option<proto::SimulcastCodecInfo> {
    let backup = track.backup.as_ref()?;
    let stream = backup.stream.as_ref()?;
    Some(proto::SimulcastCodecInfo {
        mime_type: backup.codec.mime().to_owned(),
        mid: stream.mid.to_string(),
        cid: stream.cid.clone(),
        layers: stream.layers.iter().map(layer).collect(),
        video_layer_mode: layer_mode(backup.codec, stream.simulcast) as i32,
        ..proto::SimulcastCodecInfo::default()
    })
}

fn backup_policy(track: &Track) -> proto::BackupCodecPolicy {
    match track.backup.as_ref().map(|backup| backup.policy) {
        None | Some(BackupPolicy::PreferRegression) => proto::BackupCodecPolicy::PreferRegression,
        Some(BackupPolicy::Simulcast) => proto::BackupCodecPolicy::Simulcast,
        Some(BackupPolicy::Regression) => proto::BackupCodecPolicy::Regression,
    }
}

pub(crate) fn parse_backup_policy(number: i32) -> BackupPolicy {
    match proto::BackupCodecPolicy::try_from(number) {
        Ok(proto::BackupCodecPolicy::Simulcast) => BackupPolicy::Simulcast,
        Ok(proto::BackupCodecPolicy::Regression) => BackupPolicy::Regression,
        _ => BackupPolicy::PreferRegression,
    }
}

const AUDIO_FEATURES: [(AudioFeature, proto::AudioTrackFeature); 7] = [
    (AudioFeature::Stereo, proto::AudioTrackFeature::TfStereo),
    (AudioFeature::NoDtx, proto::AudioTrackFeature::TfNoDtx),
    (AudioFeature::AutoGainControl, proto::AudioTrackFeature::TfAutoGainControl),
    (AudioFeature::EchoCancellation, proto::AudioTrackFeature::TfEchoCancellation),
    (AudioFeature::NoiseSuppression, proto::AudioTrackFeature::TfNoiseSuppression),
    (AudioFeature::EnhancedNoiseCancellation, proto::AudioTrackFeature::TfEnhancedNoiseCancellation),
    (AudioFeature::PreconnectBuffer, proto::AudioTrackFeature::TfPreconnectBuffer),
];

fn audio_features(track: &Track) -> Vec<i32> {
    // Old clients say these two in fields of their own.
    let has = |feature: AudioFeature| match feature {
        AudioFeature::Stereo => track.stereo,
        AudioFeature::NoDtx => track.no_dtx,
        other => track.features.contains(&other),
    };
    AUDIO_FEATURES.iter().filter(|(own, _)| has(*own)).map(|(_, theirs)| *theirs as i32).collect()
}

pub(crate) fn parse_audio_features(numbers: &[i32]) -> BTreeSet<AudioFeature> {
    let named = |theirs: &proto::AudioTrackFeature| numbers.contains(&(*theirs as i32));
    AUDIO_FEATURES.iter().filter(|(_, theirs)| named(theirs)).map(|(own, _)| *own).collect()
}

/// A video track always has a layer: clients size their receivers by it.
fn layers(track: &Track) -> Vec<proto::VideoLayer> {
    if track.kind == MediaKind::Audio {
        return Vec::new();
    }
    if track.layers.is_empty() {
        let quality = proto::VideoQuality::High as i32;
        let (width, height) = (track.width, track.height);
        return vec![proto::VideoLayer { quality, width, height, ..proto::VideoLayer::default() }];
    }
    track.layers.iter().map(layer).collect()
}

fn layer(layer: &VideoLayer) -> proto::VideoLayer {
    proto::VideoLayer {
        quality: i32::from(layer.quality.min(2)),
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        ssrc: layer.ssrc,
        spatial_layer: i32::from(layer.spatial),
        ..proto::VideoLayer::default()
    }
}

fn layer_mode(codec: CodecKind, simulcast: bool) -> proto::video_layer::Mode {
    use proto::video_layer::Mode;
    let scalable = matches!(codec, CodecKind::Vp9 | CodecKind::Av1);
    match codec.media() {
        MediaKind::Audio => Mode::Unused,
        MediaKind::Video if scalable && !simulcast => Mode::MultipleSpatialLayersPerStream,
        MediaKind::Video => Mode::OneSpatialLayerPerStream,
    }
}

pub(crate) fn parse_layer(layer: &proto::VideoLayer) -> VideoLayer {
    VideoLayer {
        quality: layer.quality.clamp(0, 2) as u8,
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        ssrc: layer.ssrc,
        spatial: layer.spatial_layer.clamp(0, 2) as u8,
    }
}

pub(crate) fn source(source: TrackSource) -> proto::TrackSource {
    match source {
        TrackSource::Unknown => proto::TrackSource::Unknown,
        TrackSource::Camera => proto::TrackSource::Camera,
        TrackSource::Microphone => proto::TrackSource::Microphone,
        TrackSource::ScreenShare => proto::TrackSource::ScreenShare,
        TrackSource::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
    }
}

pub(crate) fn parse_source(number: i32) -> TrackSource {
    match proto::TrackSource::try_from(number) {
        Ok(proto::TrackSource::Camera) => TrackSource::Camera,
        Ok(proto::TrackSource::Microphone) => TrackSource::Microphone,
        Ok(proto::TrackSource::ScreenShare) => TrackSource::ScreenShare,
        Ok(proto::TrackSource::ScreenShareAudio) => TrackSource::ScreenShareAudio,
        _ => TrackSource::Unknown,
    }
}

pub(crate) fn encryption(encryption: Encryption) -> proto::encryption::Type {
    match encryption {
        Encryption::None => proto::encryption::Type::None,
        Encryption::Gcm => proto::encryption::Type::Gcm,
        Encryption::Custom => proto::encryption::Type::Custom,
    }
}

pub(crate) fn parse_encryption(number: i32) -> Encryption {
    match proto::encryption::Type::try_from(number) {
        Ok(proto::encryption::Type::Gcm) => Encryption::Gcm,
        Ok(proto::encryption::Type::Custom) => Encryption::Custom,
        _ => Encryption::None,
    }
}

/// A codec as clients write it: `vp8`, `video/VP8`, `audio/opus`. `None` for one that Stoa does not carry.
pub(crate) fn parse_codec(text: &str) -> Option<CodecKind> {
    let name = text.rsplit('/').next().unwrap_or(text);
    match name.to_ascii_lowercase().as_str() {
        "opus" => Some(CodecKind::Opus),
        "red" => Some(CodecKind::Red),
        "vp8" => Some(CodecKind::Vp8),
        "vp9" => Some(CodecKind::Vp9),
        "h264" => Some(CodecKind::H264),
        "av1" => Some(CodecKind::Av1),
        _ => None,
    }
}

pub(crate) fn reason(reason: LeaveReason) -> proto::DisconnectReason {
    use proto::DisconnectReason as To;
    match reason {
        LeaveReason::ClientInitiated => To::ClientInitiated,
        LeaveReason::DuplicateIdentity => To::DuplicateIdentity,
        LeaveReason::ServerShutdown => To::ServerShutdown,
        LeaveReason::Migration => To::Migration,
        LeaveReason::ParticipantRemoved => To::ParticipantRemoved,
        LeaveReason::RoomDeleted => To::RoomDeleted,
        LeaveReason::RoomClosed => To::RoomClosed,
        LeaveReason::StateMismatch => To::StateMismatch,
        LeaveReason::JoinFailure => To::JoinFailure,
        LeaveReason::SignalClosed => To::SignalClose,
        LeaveReason::ConnectionTimeout => To::ConnectionTimeout,
        LeaveReason::MediaFailure => To::MediaFailure,
        LeaveReason::Moved => To::Migration,
    }
}

pub(crate) fn speakers(speakers: &[Speaker]) -> proto::SpeakersChanged {
    proto::SpeakersChanged { speakers: speakers.iter().map(speaker).collect() }
}

pub(crate) fn speaker(speaker: &Speaker) -> proto::SpeakerInfo {
    proto::SpeakerInfo {
        sid: ids::participant(speaker.participant),
        level: speaker.level,
        active: speaker.active,
    }
}

/// What `receiver` is told of connections. `knows_lost`: its client does.
pub(crate) fn qualities(
    receiver: ParticipantId,
    knows_lost: bool,
    qualities: &[(ParticipantId, Quality)],
) -> proto::ConnectionQualityUpdate {
    let each = qualities.iter().map(|(id, of)| quality(*id, *of, *id == receiver || !knows_lost));
    proto::ConnectionQualityUpdate { updates: each.collect() }
}

/// `hide_lost`: also for the receiver's own quality. It is never told that it is lost: a client that publishes takes that, after 10 s,
/// for a reason to reconnect from scratch, and a connection over which the message arrives is not lost.
fn quality(participant: ParticipantId, quality: Quality, hide_lost: bool) -> proto::ConnectionQualityInfo {
    use proto::ConnectionQuality as To;
    let (quality, score) = match quality {
        Quality::Lost if hide_lost => (To::Poor, 1.0),
        Quality::Lost => (To::Lost, 0.0),
        Quality::Poor => (To::Poor, 2.0),
        Quality::Good => (To::Good, 3.5),
        Quality::Excellent => (To::Excellent, 5.0),
    };
    proto::ConnectionQualityInfo {
        participant_sid: ids::participant(participant),
        quality: quality as i32,
        score,
    }
}

/// As demand names it: without the kind of media in front.
pub(crate) fn codec_name(codec: CodecKind) -> String {
    codec.mime().rsplit('/').next().unwrap_or_default().to_owned()
}

/// The label of the data channel for a kind of message.
pub(crate) fn data_kind(label: &str) -> Option<DataKind> {
    match label {
        "_reliable" => Some(DataKind::Reliable),
        "_lossy" => Some(DataKind::Lossy),
        _ => None,
    }
}
