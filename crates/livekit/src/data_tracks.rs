//! Data tracks as LiveKit's messages describe them.

use base::TrackId;
use base::model::{DataEncoding, DataHandle, DataSchema, DataTrack};
use livekit_protocol as proto;
use livekit_protocol::data_track_frame_encoding::Value as FrameEncoding;
use livekit_protocol::data_track_schema_encoding::Value as SchemaEncoding;
use livekit_protocol::data_track_subscriber_handles::PublishedDataTrack;
use livekit_protocol::request_response::Reason;

use crate::{ids, translate};

/// Longest name of a track or a schema, in bytes.
const MAX_NAME: usize = 256;
/// Longest name of an encoding that is the application's own, in bytes.
const MAX_ENCODING: usize = 32;

/// What a participant asks to publish.
///
/// # Errors
/// Why it cannot be published.
pub(crate) fn parse(request: &proto::PublishDataTrackRequest, id: TrackId) -> Result<DataTrack, Reason> {
    let handle = u16::try_from(request.pub_handle).ok().filter(|handle| *handle != 0);
    let handle = handle.ok_or(Reason::InvalidHandle)?;
    if request.name.is_empty() || request.name.len() > MAX_NAME {
        return Err(Reason::InvalidName);
    }
    let encoding = request.frame_encoding.as_ref().map(|encoding| match &encoding.value {
        Some(FrameEncoding::Custom(name)) => custom(name),
        Some(FrameEncoding::WellKnown(number)) => Ok(DataEncoding::Listed(*number)),
        None => Ok(DataEncoding::Listed(0)),
    });
    Ok(DataTrack {
        id,
        handle,
        name: request.name.clone(),
        encryption: translate::parse_encryption(request.encryption),
        encoding: encoding.transpose()?,
        schema: request.schema.as_ref().map(parse_schema).transpose()?,
    })
}

fn parse_schema(schema: &proto::DataTrackSchemaId) -> Result<DataSchema, Reason> {
    if schema.name.is_empty() || schema.name.len() > MAX_NAME {
        return Err(Reason::InvalidRequest);
    }
    let encoding = schema.encoding.as_ref().map(|encoding| match &encoding.value {
        Some(SchemaEncoding::Custom(name)) => custom(name),
        Some(SchemaEncoding::WellKnown(number)) => Ok(DataEncoding::Listed(*number)),
        None => Ok(DataEncoding::Listed(0)),
    });
    Ok(DataSchema { name: schema.name.clone(), encoding: encoding.transpose()? })
}

fn custom(name: &str) -> Result<DataEncoding, Reason> {
    match name.len() {
        1..=MAX_ENCODING => Ok(DataEncoding::Custom(name.to_owned())),
        _ => Err(Reason::InvalidRequest),
    }
}

pub(crate) fn info(track: &DataTrack) -> proto::DataTrackInfo {
    let frame_encoding = track.encoding.as_ref().map(|encoding| match encoding {
        DataEncoding::Listed(number) => FrameEncoding::WellKnown(*number),
        DataEncoding::Custom(name) => FrameEncoding::Custom(name.clone()),
    });
    let schema = track.schema.as_ref().map(|schema| {
        let encoding = schema.encoding.as_ref().map(|encoding| match encoding {
            DataEncoding::Listed(number) => SchemaEncoding::WellKnown(*number),
            DataEncoding::Custom(name) => SchemaEncoding::Custom(name.clone()),
        });
        proto::DataTrackSchemaId {
            name: schema.name.clone(),
            encoding: encoding.map(|value| proto::DataTrackSchemaEncoding { value: Some(value) }),
        }
    });
    proto::DataTrackInfo {
        pub_handle: track.handle.into(),
        sid: ids::data_track(track.id),
        name: track.name.clone(),
        encryption: translate::encryption(track.encryption) as i32,
        frame_encoding: frame_encoding.map(|value| proto::DataTrackFrameEncoding { value: Some(value) }),
        schema,
    }
}

/// All that the participant receives.
pub(crate) fn handles(handles: &[DataHandle]) -> proto::DataTrackSubscriberHandles {
    let entry = |handle: &DataHandle| {
        let track = PublishedDataTrack {
            publisher_identity: handle.identity.to_string(),
            publisher_sid: ids::participant(handle.publisher),
            track_sid: ids::data_track(handle.track),
        };
        (handle.handle.into(), track)
    };
    proto::DataTrackSubscriberHandles { sub_handles: handles.iter().map(entry).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> proto::PublishDataTrackRequest {
        let encoding = proto::DataTrackSchemaEncoding { value: Some(SchemaEncoding::WellKnown(7)) };
        proto::PublishDataTrackRequest {
            pub_handle: 65_535,
            name: "arm.angle".to_owned(),
            encryption: proto::encryption::Type::Gcm as i32,
            frame_encoding: Some(proto::DataTrackFrameEncoding {
                value: Some(FrameEncoding::Custom("mine".to_owned())),
            }),
            schema: Some(proto::DataTrackSchemaId { name: "angle".to_owned(), encoding: Some(encoding) }),
        }
    }

    #[test]
    fn everything_that_is_said_of_a_data_track_is_told_to_others() {
        let track = parse(&request(), TrackId(9)).expect("valid");
        let (info, request) = (info(&track), request());
        assert_eq!((info.pub_handle, &info.name), (65_535, &request.name));
        assert_eq!(info.sid, format!("DTR_{}", TrackId(9)));
        assert_eq!((info.encryption, info.frame_encoding), (request.encryption, request.frame_encoding));
        assert_eq!(info.schema, request.schema);
    }

    #[test]
    fn handles_names_and_encodings_out_of_range_are_refused() {
        let refused = |change: &dyn Fn(&mut proto::PublishDataTrackRequest)| {
            let mut request = request();
            change(&mut request);
            parse(&request, TrackId(9)).err()
        };
        let custom =
            |name: String| Some(proto::DataTrackFrameEncoding { value: Some(FrameEncoding::Custom(name)) });
        assert_eq!(refused(&|request| request.pub_handle = 0), Some(Reason::InvalidHandle));
        assert_eq!(refused(&|request| request.pub_handle = 65_536), Some(Reason::InvalidHandle));
        assert_eq!(refused(&|request| request.name.clear()), Some(Reason::InvalidName));
        assert_eq!(refused(&|request| request.name = "x".repeat(257)), Some(Reason::InvalidName));
        for name in [String::new(), "x".repeat(33)] {
            let refusal = refused(&|request| request.frame_encoding = custom(name.clone()));
            assert_eq!(refusal, Some(Reason::InvalidRequest));
        }
        let nameless = Some(proto::DataTrackSchemaId::default());
        assert_eq!(refused(&|request| request.schema = nameless.clone()), Some(Reason::InvalidRequest));
        assert_eq!(refused(&|request| request.name = "x".repeat(256)), None);
    }
}
