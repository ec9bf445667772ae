//! DTLS.
/// Largest DTLS datagram that we make.
pub(crate) const MTU: usize = 1_200;
