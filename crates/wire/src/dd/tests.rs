use super::*;
use crate::bits::Writer;
use crate::testing::{Rng, damaged};

/// Two spatial layers of two temporal ones, keyed: four decode targets, two chains, and sizes.
/// Templates: key 0, delta 0 T0, delta 0 T1, key 1, delta 1 T0, delta 1 T1.
fn structure(bits: &mut Writer<'_>, offset: u8) {
    bits.put(u32::from(offset), 6);
    bits.put(3, 5);
    [0, 1, 2, 0, 1, 3].iter().for_each(|next| bits.put(*next, 2));
    for indications in [[2, 2, 2, 2], [2, 2, 0, 0], [0, 1, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 1]] {
        indications.iter().for_each(|indication| bits.put(*indication, 2));
    }
    for differences in [&[][..], &[4], &[2], &[1], &[4], &[2]] {
        for difference in differences {
            bits.put(1, 1);
            bits.put(difference - 1, 4);
        }
        bits.put(0, 1);
    }
    // ns(5): two chains are `10`; ns(2): one bit each.
    bits.put(2, 2);
    [0, 0, 1, 1].iter().for_each(|chain| bits.put(*chain, 1));
    for chains in [[0, 0], [4, 3], [2, 1], [1, 1], [1, 4], [3, 2]] {
        chains.iter().for_each(|chain| bits.put(*chain, 4));
    }
    bits.put(1, 1);
    [(640, 360), (1280, 720)].iter().for_each(|(width, height)| {
        bits.put(width - 1, 16);
        bits.put(height - 1, 16);
    });
}

fn descriptor(template: u8, number: u16, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = [0; 128];
    let mut bits = Writer::new(&mut bytes);
    bits.put(3, 2);
    bits.put(u32::from(template), 6);
    bits.put(u32::from(number), 16);
    write(&mut bits);
    let len = bits.finish();
    bytes[..len].to_vec()
}

fn key(number: u16) -> Vec<u8> {
    descriptor(60, number, |bits| {
        bits.put(0b10000, 5);
        structure(bits, 60);
    })
}

fn known() -> Structure {
    Descriptor::parse(&key(1), None).expect("well formed").structure.expect("a keyframe")
}

#[test]
fn a_structure_is_read_whole() {
    let known = known();
    assert_eq!((known.offset, known.targets, known.chains, known.spatial_layers), (60, 4, 2, 2));
    assert_eq!((known.temporal_layers(), known.all()), (2, 0b1111));
    assert_eq!(known.layers, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(known.protected_by, [0, 0, 1, 1]);
    assert_eq!(known.resolutions, [(640, 360), (1280, 720)]);
    // Who gets the upper layer gets no more than the first frame of the lower one.
    assert_eq!(known.within, [0b0001, 0b0011, 0b0100, 0b1100]);
    assert_eq!(known.template(1).map(|template| template.temporal), Some(1), "ids wrap at 64");
    assert_eq!(known.template(2), None);
}

#[test]
fn a_frame_is_its_template_unless_it_says_otherwise() {
    let known = known();
    let frame = |bytes: &[u8]| Descriptor::parse(bytes, Some(&known)).expect("well formed");
    let plain = frame(&descriptor(0, 9, |_| {}));
    assert_eq!((plain.frame.spatial, plain.frame.temporal), (1, 0));
    assert_eq!(plain.frame.differences.as_slice(), [4]);
    assert_eq!(plain.frame.indication(2), Indication::Switch);
    assert_eq!((&plain.frame.chains[..2], plain.active, plain.structure), (&[1, 4][..], None, None));

    let custom = frame(&descriptor(0, 9, |bits| {
        bits.put(0b01111, 5);
        bits.put(0b0011, 4);
        [3, 0, 1, 2].iter().for_each(|indication| bits.put(*indication, 2));
        [(1, 6), (3, 4_095)].iter().for_each(|(size, difference)| {
            bits.put(*size, 2);
            bits.put(*difference, 4 * *size as usize);
        });
        bits.put(0, 2);
        [200, 7].iter().for_each(|chain| bits.put(*chain, 8));
    }));
    let indications = [0, 1, 2, 3].map(|target| custom.frame.indication(target));
    assert_eq!(
        indications,
        [Indication::Required, Indication::NotPresent, Indication::Discardable, Indication::Switch]
    );
    assert_eq!(custom.frame.differences.as_slice(), [7, 4_096]);
    assert_eq!((&custom.frame.chains[..2], custom.active), (&[200, 7][..], Some(0b0011)));
}

#[test]
fn without_a_structure_or_with_an_unknown_template_nothing_is_read() {
    assert_eq!(Descriptor::parse(&descriptor(0, 9, |_| {}), None), None);
    assert_eq!(Descriptor::parse(&descriptor(30, 9, |_| {}), Some(&known())), None);
    assert_eq!(Descriptor::parse(&key(1)[..12], Some(&known())), None, "cut off");
}

#[test]
fn nine_references_are_malformed() {
    let with = |count: usize| {
        descriptor(0, 9, |bits| {
            bits.put(0b00010, 5);
            (0..count).for_each(|_| bits.put(0b01_0000, 6));
            bits.put(0, 2);
        })
    };
    assert!(Descriptor::parse(&with(8), Some(&known())).is_some());
    assert_eq!(Descriptor::parse(&with(9), Some(&known())), None);
}

/// What reads back from a patched descriptor.
fn patched(bytes: &[u8], patch: Patch) -> (Descriptor, usize) {
    let mut out = [0xEE; 255];
    let len = patch.write(bytes, &mut out);
    (Descriptor::parse(&out[..len], Some(&known())).expect("still well formed"), len)
}

#[test]
fn a_frame_number_is_changed_and_nothing_else() {
    for bytes in [key(5), descriptor(0, 5, |_| {}), descriptor(0, 5, |bits| bits.put(0, 5))] {
        let (read, len) = patched(&bytes, Patch { frame_number: 0xABCD, active: None });
        let mut expected = Descriptor::parse(&bytes, Some(&known())).expect("well formed");
        expected.mandatory.frame_number = 0xABCD;
        assert_eq!((read, len), (expected, bytes.len()));
    }
}

#[test]
fn active_decode_targets_are_told_also_where_there_were_none() {
    let custom = descriptor(0, 5, |bits| {
        bits.put(0b01010, 5);
        bits.put(0b1111, 4);
        [1, 6, 0].iter().zip([2, 4, 2]).for_each(|(value, count)| bits.put(*value, count));
    });
    let patch = Patch { frame_number: 7, active: Active::new(0b0011, 4) };
    for bytes in [key(5), descriptor(0, 5, |_| {}), descriptor(0, 5, |bits| bits.put(0, 5)), custom] {
        let (read, len) = patched(&bytes, patch);
        let mut expected = Descriptor::parse(&bytes, Some(&known())).expect("well formed");
        expected.mandatory.frame_number = 7;
        let told_before = expected.active.replace(0b0011).is_some();
        assert_eq!(read, expected);
        assert_eq!(len, if told_before { bytes.len() } else { patch.len_of(bytes.len()) });
        assert!(len <= bytes.len() + MAX_GROWTH);
    }
}

#[test]
fn active_decode_targets_of_another_structure_are_not_told() {
    let (read, _) = patched(&key(5), Patch { frame_number: 7, active: Active::new(1, 9) });
    assert_eq!((read.active, read.mandatory.frame_number), (None, 7));
    let mut small = [0; 4];
    assert_eq!(Patch::default().write(&key(5), &mut small), 0, "no room");
}

#[test]
fn active_decode_targets_are_kept_small() {
    for (bits, targets) in [(0, 1), (1, 1), (0b10_1010, 9), (0x7FFF, 15)] {
        let active = Active::new(bits, targets).expect("few enough");
        assert_eq!((active.bits(), active.targets()), (bits, targets));
        assert_eq!(Active::unpack(Active::pack(Some(active))), Some(active));
    }
    assert_eq!(Active::new(1, 16), None);
    assert_eq!(Active::unpack(Active::pack(None)), None);
}

#[test]
fn nothing_that_is_damaged_panics() {
    let check = |bytes: &[u8]| {
        crate::fuzz::payload(bytes);
        crate::fuzz::descriptor(bytes, Some(&known()));
    };
    damaged(&key(5), check);
    let mut rng = Rng::new(4);
    for round in 0..20_000 {
        let mut bytes = rng.bytes(round % 60);
        if let Some(flags) = bytes.get_mut(3).filter(|_| round % 2 == 0) {
            *flags |= 0x80;
        }
        check(&bytes);
    }
}
