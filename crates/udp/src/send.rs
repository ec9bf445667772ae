//! Sending a batch.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::address::RawAddress;
use crate::batch::{Batch, Run};
use crate::control::Control;
use crate::{Socket, poll};

/// Messages per call; and when there are only a few, whose call need not clear room for many.
const MESSAGES: usize = 32;
const FEW: usize = 4;

/// How often one batch may wait for room in the kernel's send buffer, and for how long each time. Beyond that the rest of
/// the batch is dropped: media that waits longer is worth less than the latency of everything behind it.
const WAITS: u32 = 4;
const WAIT: Duration = Duration::from_micros(500);
/// How many interruptions and stale errors of earlier datagrams one batch looks past.
const RETRIES: u32 = 16;

/// Counts since the socket was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendStats {
    /// Messages the kernel took.
    pub messages: u64,
    /// Of these, messages with more than one datagram.
    pub coalesced: u64,
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Bytes the kernel took.
    pub bytes: u64,
    /// Messages that had to be sent datagram by datagram, because the route could not segment them.
    pub split: u64,
    /// Datagrams dropped because the kernel's send buffer stayed full.
    pub dropped_full: u64,
    /// Datagrams dropped because the kernel refused them: no route, filtered, too large.
    pub dropped_refused: u64,
}

/// What to do about a message that the kernel refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Remedy {
    /// Once more.
    Again,
    /// Wait for room, then once more.
    Wait,
    /// Datagram by datagram.
    Split,
    /// Drop it.
    Drop,
}

fn remedy(error: i32, segments: usize) -> Remedy {
    match error {
        // ECONNREFUSED: an ICMP answer to an earlier datagram, told by this call and cleared by it.
        libc::EINTR | libc::ECONNREFUSED => Remedy::Again,
        // ENOBUFS: a device queue is full (only told when the socket asks for it, or by some drivers).
        libc::EAGAIN | libc::ENOBUFS => Remedy::Wait,
        // EINVAL: segments larger than the route's MTU, or more than this kernel takes. EMSGSIZE: the same, told later.
        // EIO: the device cannot do checksums, which segmentation needs.
        libc::EINVAL | libc::EMSGSIZE | libc::EIO if segments > 1 => Remedy::Split,
        _ => Remedy::Drop,
    }
}

/// What one batch may still spend on a kernel that refuses.
struct Patience {
    waits: u32,
    retries: u32,
}

fn spend(budget: &mut u32) -> bool {
    let left = *budget > 0;
    *budget = budget.saturating_sub(1);
    left
}

impl Socket {
    /// Sends everything in the batch, in order. Does not clear it. Waits at most 2 ms in all for room in the kernel's send
    /// buffer; what cannot be sent is dropped and counted ([`Socket::sent`]).
    pub fn send(&mut self, batch: &Batch) {
        let mut patience = Patience { waits: WAITS, retries: RETRIES };
        self.send_runs(&batch.bytes, &batch.runs, &mut patience);
    }

    fn send_runs(&mut self, bytes: &[u8], runs: &[Run], patience: &mut Patience) {
        let mut next = 0;
        while next < runs.len() {
            let rest = &runs[next..];
            let sent = match rest.len() {
                ..=FEW => self.send_messages::<FEW>(bytes, rest),
                _ => self.send_messages::<MESSAGES>(bytes, rest),
            };
            next += match sent {
                Ok(count) => {
                    self.count_sent(&runs[next..next + count]);
                    count
                }
                Err(error) => self.refused(bytes, &runs[next..], error, patience),
            };
        }
    }

    /// The kernel refused the first of these runs. Returns how many runs are done with.
    fn refused(&mut self, bytes: &[u8], runs: &[Run], error: i32, patience: &mut Patience) -> usize {
        let segments = runs[0].segments;
        match remedy(error, segments) {
            Remedy::Again if spend(&mut patience.retries) => 0,
            Remedy::Wait if spend(&mut patience.waits) => {
                self.wait_for_room();
                0
            }
            Remedy::Wait => {
                self.sent.dropped_full += runs.iter().map(|run| run.segments as u64).sum::<u64>();
                runs.len()
            }
            Remedy::Split => {
                // A socket on which it never worked goes without from now on; one on which it did has one bad route.
                if error == libc::EIO && self.sent.coalesced == 0 {
                    self.segmentation = false;
                }
                self.sent.split += 1;
                let parts: Vec<Run> = runs[0].split().collect();
                self.send_runs(bytes, &parts, patience);
                1
            }
            Remedy::Again | Remedy::Drop => {
                self.sent.dropped_refused += segments as u64;
                1
            }
        }
    }

    fn wait_for_room(&self) {
        let mut fds = [libc::pollfd { fd: self.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
        // Whether there is room now is what the next attempt finds out.
        let _ = poll::poll(&mut fds, Some(WAIT));
    }

    fn count_sent(&mut self, runs: &[Run]) {
        for run in runs {
            self.sent.messages += 1;
            self.sent.coalesced += u64::from(run.segments > 1);
            self.sent.datagrams += run.segments as u64;
            self.sent.bytes += run.range.len() as u64;
        }
    }

    /// One `sendmmsg(2)` of as many runs as it takes, at least one. Returns how many the kernel took; the error is that
    /// of the first.
    fn send_messages<const N: usize>(&mut self, bytes: &[u8], runs: &[Run]) -> Result<usize, i32> {
        let mut addresses = [RawAddress::zeroed(); N];
        let mut controls = [const { Control::new() }; N];
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; N];
        // SAFETY: plain integers and pointers, for which all-zero bytes (null) are a value.
        let mut headers: [libc::mmsghdr; N] = unsafe { std::mem::zeroed() };
        let mut filled = 0;
        for (index, run) in runs.iter().enumerate().take(N) {
            if run.segments > 1 && !self.segmentation {
                break;
            }
            let Some((address, address_len)) = RawAddress::encode(run.destination, self.family) else {
                break;
            };
            addresses[index] = address;
            let segment = (run.segments > 1).then_some(run.segment as u16);
            let control_len = controls[index].encode(self.family, segment, run.source);
            let datagrams = &bytes[run.range.clone()];
            vectors[index] =
                libc::iovec { iov_base: datagrams.as_ptr().cast_mut().cast(), iov_len: datagrams.len() };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut addresses[index]).cast();
            header.msg_namelen = address_len;
            header.msg_iov = &mut vectors[index];
            header.msg_iovlen = 1;
            if control_len > 0 {
                header.msg_control = controls[index].as_mut_ptr();
                header.msg_controllen = control_len as _;
            }
            filled = index + 1;
        }
        if filled == 0 {
            return Err(if runs[0].segments > 1 && !self.segmentation {
                libc::EIO
            } else {
                libc::EAFNOSUPPORT
            });
        }
        // SAFETY: the first `filled` headers name live addresses, buffers and control messages with their true lengths;
        // the kernel reads the datagrams and does not write them.
        let count = unsafe {
            libc::sendmmsg(self.as_raw_fd(), headers.as_mut_ptr(), filled as libc::c_uint, libc::MSG_DONTWAIT)
        };
        if count > 0 {
            return Ok(count as usize);
        }
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_kernel_is_waited_for_and_a_bad_route_is_not() {
        assert_eq!(remedy(libc::EAGAIN, 10), Remedy::Wait);
        assert_eq!(remedy(libc::ENETUNREACH, 10), Remedy::Drop);
        assert_eq!(remedy(libc::ECONNREFUSED, 1), Remedy::Again);
    }

    #[test]
    fn what_cannot_be_segmented_is_split_once() {
        for error in [libc::EINVAL, libc::EMSGSIZE, libc::EIO] {
            assert_eq!(remedy(error, 2), Remedy::Split);
            assert_eq!(remedy(error, 1), Remedy::Drop);
        }
    }
}
