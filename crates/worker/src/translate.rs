//! Between the plain data of `contract` and that of `rtc` and `sfu`. Nothing here decides anything.

use std::time::Duration;

use base::model::Quality;
use contract::media as plain;

pub(crate) fn credentials(from: &plain::IceCredentials) -> rtc::IceCredentials {
    rtc::IceCredentials { ufrag: from.ufrag.clone(), password: from.password.clone() }
}

pub(crate) fn role(from: plain::DtlsRole) -> rtc::DtlsRole {
    match from {
        plain::DtlsRole::Server => rtc::DtlsRole::Server,
        plain::DtlsRole::Client => rtc::DtlsRole::Client,
    }
}

pub(crate) fn receive_section(from: &plain::ReceiveSection) -> rtc::ReceiveSection {
    rtc::ReceiveSection {
        mid: from.mid,
        media: from.media,
        codecs: from.codecs.clone(),
        extensions: from.extensions,
        rids: from.rids.clone(),
        ssrcs: from.ssrcs.clone(),
    }
}

pub(crate) fn send_section(from: &plain::SendSection) -> rtc::SendSection {
    rtc::SendSection {
        mid: from.mid,
        media: from.media,
        ssrc: from.ssrc,
        rtx_ssrc: from.rtx_ssrc,
        codecs: from.codecs.clone(),
        extensions: from.extensions,
        cname: from.cname.clone(),
        strips_trailers: from.strips_trailers,
    }
}

/// `None`: we closed it ourselves, which is no news.
pub(crate) fn end(reason: rtc::CloseReason) -> Option<plain::PeerEnd> {
    match reason {
        rtc::CloseReason::Local => None,
        rtc::CloseReason::Remote => Some(plain::PeerEnd::ClosedByRemote),
        rtc::CloseReason::IceTimeout => Some(plain::PeerEnd::IceTimeout),
        rtc::CloseReason::DtlsFailed | rtc::CloseReason::WrongFingerprint => Some(plain::PeerEnd::DtlsFailed),
        rtc::CloseReason::SctpFailed => Some(plain::PeerEnd::SctpFailed),
    }
}

/// Connection quality as a person would judge it. Bounds after ITU-T G.114 (one-way delay) and what Opus and NACK can
/// conceal: up to 2 % loss is not noticed, above 8 % it is all the time.
pub(crate) fn quality(loss: f32, rtt: Option<Duration>, jitter: Duration) -> Quality {
    let rtt = rtt.unwrap_or_default();
    let within = |most_loss: f32, rtt_ms: u64, jitter_ms: u64| {
        loss <= most_loss
            && rtt <= Duration::from_millis(rtt_ms)
            && jitter <= Duration::from_millis(jitter_ms)
    };
    if within(0.02, 300, 60) {
        Quality::Excellent
    } else if within(0.08, 600, 150) {
        Quality::Good
    } else {
        Quality::Poor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_falls_with_loss_delay_and_jitter_alike() {
        let ms = Duration::from_millis;
        assert_eq!(quality(0.0, None, ms(0)), Quality::Excellent);
        assert_eq!(quality(0.05, Some(ms(40)), ms(5)), Quality::Good);
        assert_eq!(quality(0.0, Some(ms(400)), ms(5)), Quality::Good);
        assert_eq!(quality(0.0, Some(ms(40)), ms(100)), Quality::Good);
        assert_eq!(quality(0.2, Some(ms(40)), ms(5)), Quality::Poor);
        assert_eq!(quality(0.0, Some(ms(900)), ms(5)), Quality::Poor);
    }
}
