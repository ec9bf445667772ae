//! Sleeping until something happens.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Socket;

/// What ended a wait; all false: the time was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    /// The socket has something to read.
    pub readable: bool,
    /// A [`Waker`] was used.
    pub woken: bool,
}

/// Waits for a socket, a wake-up, or a time.
pub struct Poller {
    waker: Waker,
}

/// Ends a [`Poller::wait`], now or the next one. Cheap when a wake-up is pending already; never blocks.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

struct Shared {
    /// An eventfd(2).
    event: File,
    /// A wake-up was written that no wait has consumed: writing again would cost a system call and change nothing.
    pending: AtomicBool,
}

impl Waker {
    /// Whatever the caller made visible before this call is visible to the waiting thread after its wait.
    pub fn wake(&self) {
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            // It fails only when the counter is at its maximum, and then the wait ends anyway.
            let _ = (&self.shared.event).write(&1u64.to_ne_bytes());
        }
    }
}

impl Poller {
    /// Fails when the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, valid and owned by nobody else.
        let event = unsafe { File::from_raw_fd(fd) };
        Ok(Self { waker: Waker { shared: Arc::new(Shared { event, pending: AtomicBool::new(false) }) } })
    }

    /// A handle that ends waits from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Sleeps until the socket is readable, a waker is used, or `timeout` is over (`None`: no limit), with the
    /// kernel's high-resolution timers. A signal ends the wait early.
    pub fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<Ready> {
        let shared = &self.waker.shared;
        let mut fds = [
            libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: shared.event.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        poll(&mut fds, timeout)?;
        let ready = Ready { readable: fds[0].revents != 0, woken: fds[1].revents != 0 };
        if ready.woken {
            let _ = (&shared.event).read(&mut [0; 8]);
            // After the read: a waker between the two finds `pending` set and writes nothing, but what it made visible
            // was visible before this store, and the caller looks at its queues after this wait.
            shared.pending.swap(false, Ordering::AcqRel);
        }
        Ok(ready)
    }
}

/// `ppoll(2)`; an interruption by a signal counts as nothing being ready.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers and the count describe a live slice; `time` is null or points to a live value; no signal mask.
    let result = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time, std::ptr::null()) };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use std::time::Instant;

    fn socket() -> Socket {
        Socket::bind("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap()
    }

    #[test]
    fn a_wait_without_events_lasts_its_time() {
        let poller = Poller::new().unwrap();
        let start = Instant::now();
        assert_eq!(poller.wait(&socket(), Some(Duration::from_millis(10))).unwrap(), Ready::default());
        assert!(start.elapsed() >= Duration::from_millis(10));
    }

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost_and_counts_once() {
        let (poller, socket) = (Poller::new().unwrap(), socket());
        poller.waker().wake();
        poller.waker().wake();
        assert!(poller.wait(&socket, None).unwrap().woken);
        assert!(!poller.wait(&socket, Some(Duration::ZERO)).unwrap().woken);
    }

    #[test]
    fn every_wake_up_from_another_thread_arrives() {
        let (poller, socket) = (Poller::new().unwrap(), socket());
        let (waker, count) = (poller.waker(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let seen = count.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..1_000 {
                count.fetch_add(1, Ordering::Relaxed);
                waker.wake();
            }
        });
        while seen.load(Ordering::Relaxed) < 1_000 {
            let ready = poller.wait(&socket, Some(Duration::from_secs(10))).unwrap();
            assert!(ready.woken, "slept through a wake-up");
        }
        thread.join().unwrap();
    }
}
