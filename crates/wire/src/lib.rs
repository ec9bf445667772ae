//! Bytes <-> structs: RTP, RTCP, header extensions and codec descriptors. Total functions on bytes.

