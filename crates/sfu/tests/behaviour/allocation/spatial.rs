//! Spatial layers within one stream.

use super::*;

/// Three spatial layers in one stream, of 150, 350 and 1,200 kbit/s beside one another, each with three temporal layers. Ben's
/// line falls; keyframes come half a second after they are asked for. Returns the frames that he got afterwards, with the
/// spatial and temporal layer of each and whether it was before a keyframe was due.
fn svc(shape: Shape, kbps: u64) -> Vec<(u8, u8, bool)> {
    let mut stage = Stage::new();
    stage.publish(CAMERA, MediaKind::Video, 1);
    stage.estimate(BEN, Some(Bitrate::kbps(5_000)));
    stage.subscribe(CAMERA, BEN);
    let mut encoder = Encoder::new(stage.begin, shape, 0);
    let (mut due, mut before) = (Some(ms(0)), 0);
    for n in 0..210 {
        let now = stage.elapsed();
        if n == 150 {
            before = stage.raw[&BEN].len();
            stage.estimate(BEN, Some(Bitrate::kbps(kbps)));
        }
        let key = due.take_if(|due| *due <= now).is_some();
        for mut sent in encoder.picture(now, key, 1) {
            let size = [600, 1_400, 4_900][usize::from(sent_spatial(&shape, &sent))];
            sent.payload.resize(size, 0);
            sent.received.payload = 0..size;
            stage.deliver(CAMERA, &sent);
        }
        if !stage.requested_layers().is_empty() {
            due.get_or_insert(now + ms(500));
        }
        stage.advance(FRAME);
    }
    let frames = assemble(&stage.raw[&BEN], &mut BTreeSet::new());
    check(&frames, shape.described, &BTreeSet::new());
    let after = &stage.raw[&BEN][before..];
    let truths = after.iter().map(|raw| truth_of(&shape, &raw.payload));
    let mut early = true;
    let seen = truths.map(|truth| {
        early &= !truth.references.is_empty();
        (truth.spatial, truth.temporal, early)
    });
    seen.collect()
}

fn truth_of(shape: &Shape, payload: &[u8]) -> encoder::Truth {
    let head = match shape.codec {
        CodecKind::Vp9 => wire::vp9::Descriptor::parse(payload).unwrap().len,
        _ => 1,
    };
    encoder::Truth::read(&payload[head..])
}

fn sent_spatial(shape: &Shape, sent: &Sent) -> u8 {
    truth_of(shape, &sent.payload).spatial
}

#[test]
fn spatial_layers_are_left_as_soon_as_the_stream_allows() {
    for shape in [
        Shape::new(CodecKind::Av1, true, Mode::Full, 3),
        Shape::new(CodecKind::Vp9, false, Mode::Full, 3),
        Shape::new(CodecKind::Vp9, false, Mode::Key, 3),
    ] {
        let after = svc(shape, 700);
        let highest = after.iter().skip(9).map(|(spatial, ..)| *spatial).max();
        assert_eq!(highest, Some(1), "{shape:?} {after:?}");
    }
}

#[test]
fn a_spatial_layer_that_cannot_be_left_without_a_keyframe_is_thinned_out_until_it_comes() {
    for codec in [CodecKind::Av1, CodecKind::Vp9] {
        let after = svc(Shape::new(codec, true, Mode::Key, 3), 500);
        let early: Vec<_> = after.iter().filter(|(.., early)| *early).collect();
        assert!(early.len() > 3, "{after:?}");
        let (mut thick, mut thin) = (0, 0);
        early.iter().for_each(|(_, temporal, _)| if *temporal > 0 { thick += 1 } else { thin += 1 });
        assert!(thick <= 3 && thin >= 3, "{early:?}");
        assert_eq!(after.last().map(|(spatial, ..)| *spatial), Some(1), "{after:?}");
    }
}

#[test]
fn a_spatial_layer_that_is_much_too_large_stops_until_the_keyframe_comes() {
    let after = svc(Shape::new(CodecKind::Av1, true, Mode::Key, 3), 170);
    let early = after.iter().filter(|(.., early)| *early).count();
    assert!(early <= 1, "{after:?}");
    assert_eq!(after.last().map(|(spatial, ..)| *spatial), Some(0), "{after:?}");
}
