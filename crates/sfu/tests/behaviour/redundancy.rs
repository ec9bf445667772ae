//! Redundant audio, and receivers that know it or do not.

use base::{CodecKind, MediaKind};
use wire::red::Red;

use crate::support::*;
use crate::voices::redundant;

const OPUS: &[CodecKind] = &[CodecKind::Opus];
const BOTH: &[CodecKind] = &[CodecKind::Opus, CodecKind::Red];

/// A microphone that Ben hears with Opus alone and Carl with redundancy.
fn call() -> (Stage, Source) {
    let mut stage = Stage::new();
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    for (sink, codecs) in [(BEN, OPUS), (CARL, BOTH)] {
        let codecs: Vec<_> = codecs.iter().map(|kind| codec(*kind)).collect();
        stage.media.set_subscription(stage.now, MICROPHONE, To(sink), &codecs, 100).unwrap();
    }
    let source = Source::audio(stage.begin);
    (stage, source)
}

#[test]
fn a_receiver_without_redundancy_gets_the_primary_block_as_opus() {
    let (mut stage, mut source) = call();
    let plain = source.frame(ms(0), false, 1).remove(0);
    let sent = redundant(&plain, &[vec![9; 30], vec![8; 40]]);
    stage.deliver(MICROPHONE, &sent);
    let raw = &stage.raw[&BEN][0];
    assert_eq!((raw.codec, &raw.payload), (CodecKind::Opus, &plain.payload));
}

#[test]
fn a_receiver_with_redundancy_gets_it_as_it_came() {
    let (mut stage, mut source) = call();
    let sent = redundant(&source.frame(ms(0), false, 1)[0], &[vec![9; 30], vec![8; 40]]);
    stage.deliver(MICROPHONE, &sent);
    let raw = &stage.raw[&CARL][0];
    assert_eq!((raw.codec, &raw.payload), (CodecKind::Red, &sent.payload));
}

/// Chromium sends plain Opus where a block would be too long, and with DTX.
#[test]
fn a_publisher_that_changes_between_redundant_and_plain_is_one_stream() {
    let (mut stage, mut source) = call();
    for n in 0..90 {
        let mut sent = source.frame(ms(20 * n), false, 1).remove(0);
        if n % 3 != 0 {
            sent = redundant(&sent, &vec![vec![7; 20]; (n % 3) as usize]);
        }
        stage.deliver(MICROPHONE, &sent);
    }
    for sink in [BEN, CARL] {
        let raw = &stage.raw[&sink];
        assert_eq!(raw.len(), 90);
        assert!(raw.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
        assert!(raw.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 960));
        let red = raw.iter().filter(|raw| raw.codec == CodecKind::Red).count();
        assert_eq!(red, if sink == BEN { 0 } else { 60 });
    }
    assert_eq!(stage.media.snapshot(stage.now).publications[0].subscriptions[0].begun, 1);
}

#[test]
fn redundancy_whose_lengths_do_not_add_up_is_dropped_and_counted() {
    let (mut stage, mut source) = call();
    for payload in [vec![0x80 | 111], vec![111], vec![0x80 | 111, 0, 3, 255, 111, 1, 2], vec![0xFF; 1_400]] {
        let mut sent = source.frame(ms(0), false, 1).remove(0);
        (sent.received.codec, sent.payload) = (CodecKind::Red, payload);
        stage.deliver(MICROPHONE, &sent);
    }
    assert!(stage.raw.is_empty());
    assert_eq!(stage.media.snapshot(stage.now).publications[0].drops.malformed, 4);
}

#[test]
fn a_receiver_with_redundancy_alone_gets_what_is_redundant() {
    let (mut stage, mut source) = call();
    stage.media.set_subscription(stage.now, MICROPHONE, To(50), &[codec(CodecKind::Red)], 0).unwrap();
    for n in 0..6 {
        let mut sent = source.frame(ms(20 * n), false, 1).remove(0);
        if n % 2 == 0 {
            sent = redundant(&sent, &[vec![7; 20]]);
        }
        stage.deliver(MICROPHONE, &sent);
    }
    let raw = &stage.raw[&50];
    assert!(raw.iter().all(|raw| raw.codec == CodecKind::Red && Red::parse(&raw.payload).is_some()));
    assert_eq!(raw.iter().map(|raw| raw.sequence).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn padding_of_a_redundant_stream_goes_to_nobody_and_leaves_no_gap() {
    let (mut stage, mut source) = call();
    for n in 0..6 {
        let mut padding = source.padding();
        padding.received.codec = CodecKind::Red;
        let sent = redundant(&source.frame(ms(20 * n), false, 1)[0], &[]);
        stage.deliver(MICROPHONE, &padding);
        stage.deliver(MICROPHONE, &sent);
    }
    assert_gap_free(&stage.take(BEN));
    assert_gap_free(&stage.take(CARL));
}

/// The gap that it left when it was missed is filled, in a codec that the receiver has.
#[test]
fn padding_that_comes_late_fills_its_gap_as_opus() {
    let (mut stage, mut source) = call();
    stage.deliver(MICROPHONE, &redundant(&source.frame(ms(0), false, 1)[0], &[]));
    let mut padding = source.padding();
    padding.received.codec = CodecKind::Red;
    stage.deliver(MICROPHONE, &redundant(&source.frame(ms(20), false, 1)[0], &[]));
    stage.deliver(MICROPHONE, &padding);
    let raw = &stage.raw[&BEN][2];
    assert_eq!((raw.sequence, raw.codec, raw.payload.len()), (101, CodecKind::Opus, 0));
}
