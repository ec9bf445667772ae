//! Encoded VP8 frames to RTP payloads (RFC 7741).

/// Most bytes of a payload, descriptor included: with IP, UDP, RTP, header extensions and SRTP's tag a packet stays below
/// the 1,200 bytes that every path carries.
pub(crate) const MAX_PAYLOAD: usize = 1_100;
/// Bytes of the descriptor that is written: the first, the extension bits, and a picture id of 15 bits.
const DESCRIPTOR: usize = 4;

/// Cuts the frames of one stream into payloads and counts its pictures.
#[derive(Clone, Copy, Debug)]
pub struct Packetizer {
    picture_id: u16,
}

impl Packetizer {
    /// Picture ids start at `picture_id`, of which 15 bits count.
    pub fn new(picture_id: u16) -> Self {
        Self { picture_id: picture_id & 0x7fff }
    }

    /// The payloads of one frame, in order and of nearly equal size; the last one's packet carries the marker bit. None
    /// for an empty frame, which would be no frame to a decoder.
    pub fn packets(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        if frame.is_empty() {
            return Vec::new();
        }
        let count = frame.len().div_ceil(MAX_PAYLOAD - DESCRIPTOR);
        // Equal parts: a small last packet costs as much as a large one and is lost as easily.
        let parts = frame.chunks(frame.len().div_ceil(count));
        let packets = parts.enumerate().map(|(index, part)| self.packet(index == 0, part)).collect();
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        packets
    }

    fn packet(&self, first: bool, part: &[u8]) -> Vec<u8> {
        // X: extension bits follow. S: the partition starts here. I: a picture id follows. M: of 15 bits.
        let start = if first { 0x90 } else { 0x80 };
        let [high, low] = self.picture_id.to_be_bytes();
        let mut packet = Vec::with_capacity(DESCRIPTOR + part.len());
        packet.extend_from_slice(&[start, 0x80, high | 0x80, low]);
        packet.extend_from_slice(part);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::vp8::Descriptor;

    #[test]
    fn a_frame_comes_together_again_and_its_first_packet_says_where_it_begins() {
        let mut packetizer = Packetizer::new(0x7fff);
        for (len, id) in [(1, 0x7fff), (1_096, 0), (1_097, 1), (10_000, 2)] {
            let frame: Vec<u8> = (0..len).map(|byte| (byte % 251) as u8).collect();
            let mut whole = Vec::new();
            for (index, packet) in packetizer.packets(&frame).iter().enumerate() {
                assert!(packet.len() <= MAX_PAYLOAD);
                let descriptor = Descriptor::parse(packet).expect("a descriptor");
                assert_eq!(descriptor.picture_id, Some(id));
                assert!(descriptor.long_picture_id);
                assert_eq!(descriptor.starts_frame(), index == 0);
                assert_eq!(descriptor.keyframe, index == 0, "the lowest bit of the frame is 0");
                whole.extend_from_slice(&packet[descriptor.len..]);
            }
            assert_eq!(whole, frame);
        }
    }

    #[test]
    fn parts_are_of_nearly_equal_size() {
        let packets = Packetizer::new(0).packets(&[0; 1_200]);
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [604, 604]);
        assert!(Packetizer::new(0).packets(&[]).is_empty());
    }
}
