//! One counter for every reason to drop something, and for what a person debugging a call wants to see.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the peer was made. Nothing here ever resets or saturates in practice.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name, in a fixed order.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// Adds those of another peer, for totals.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Datagrams whose first byte names no protocol that we speak (RFC 7983).
    unknown_class,
    /// DTLS and SRTP from an address that no authenticated ICE check came from.
    unvalidated_source,

    /// STUN messages that could not be read, or lack username, integrity or priority.
    stun_malformed,
    /// STUN messages without FINGERPRINT or with a wrong one.
    stun_bad_fingerprint,
    /// Checks for another user fragment.
    stun_unknown_user,
    /// Checks whose MESSAGE-INTEGRITY is wrong; answered with 401.
    stun_unauthenticated,
    /// STUN messages that are no Binding request (a lite agent expects no other).
    stun_unexpected,
    /// Transactions that were seen before: answered, but they move nothing.
    stun_repeated,
    /// Authenticated checks.
    stun_checks,
    /// STUN answers dropped because too many were waiting to be sent.
    stun_answers_dropped,

    /// DTLS datagrams before the other side's fingerprint was known, or after the end.
    dtls_unexpected,
    /// DTLS datagrams before the handshake's first that are no ClientHello.
    dtls_malformed,
    /// Handshakes begun anew because the first one broke before it was authenticated.
    dtls_restarted,
    /// Outgoing DTLS datagrams dropped because too many were waiting to be sent.
    dtls_dropped,

    /// RTP and RTCP before keys were known.
    srtp_before_keys,
    /// RTP and RTCP too short or not version 2.
    srtp_malformed,
    /// Packets with an index that was received before, or is too old to tell.
    srtp_replayed,
    /// Packets whose authentication failed.
    srtp_unauthenticated,
    /// Replay states forgotten to make room for a new SSRC.
    srtp_streams_evicted,
    /// Packets that were not sealed because their index was sealed before, or is too old to tell.
    srtp_seal_refused,

    /// Authenticated RTP of a stream that belongs to no section.
    rtp_unknown_stream,
    /// Authenticated RTP with a payload type that its section does not have.
    rtp_unknown_payload_type,
    /// Streams that made room for a newer SSRC of their section and layer.
    rtp_streams_replaced,
    /// Packets that had arrived before in another way, and RTX packets without content.
    rtx_redundant,
    /// Received RTP packets.
    rtp_received,
    /// Sent RTP packets, retransmissions included.
    rtp_sent,
    /// Sent retransmissions.
    rtx_sent,
    /// Packets that were asked for but could not be retransmitted: forgotten, or asked for too often.
    rtx_refused,

    /// Authenticated RTCP that breaks its format; what could be read before the break was used.
    rtcp_malformed,
    /// Received RTCP compound packets.
    rtcp_received,
    /// Sent RTCP compound packets.
    rtcp_sent,
    /// Received NACKed sequence numbers.
    nacks_received,
    /// Sequence numbers that we asked for.
    nacks_sent,
    /// Received keyframe requests (PLI and FIR).
    keyframe_requests_received,
    /// Sent keyframe requests.
    keyframe_requests_sent,

    /// SCTP packets that were not for the association, and streams beyond those announced, which end it.
    sctp_unexpected,
    /// DCEP messages that could not be read.
    dcep_malformed,
    /// Channels refused because too many are open.
    channels_refused,
    /// Messages dropped: on a channel that was never opened, with an unknown payload type, or too large.
    messages_dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up() {
        let mut total = Counters { stun_checks: 1, ..Counters::default() };
        total.add(&Counters { stun_checks: 2, rtp_sent: 5, ..Counters::default() });
        let named: Vec<_> = total.fields().filter(|(_, count)| *count > 0).collect();
        assert_eq!(named, [("stun_checks", 3), ("rtp_sent", 5)]);
    }
}
