//! CPU time of threads.

use std::io;
use std::time::Duration;

/// The CPU-time clock of one thread (user plus kernel), readable from any thread of the process while that thread lives.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock {
    id: libc::clockid_t,
}

impl CpuClock {
    /// The calling thread's clock.
    pub fn current_thread() -> io::Result<Self> {
        let mut id = 0;
        // SAFETY: pthread_self names the calling thread, which is alive; `id` is a valid place for the result.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) };
        if error == 0 { Ok(Self { id }) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// CPU time spent so far; `None` when the thread has ended.
    pub fn read(&self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the result; an id of a thread that ended is refused with EINVAL.
        let result = unsafe { libc::clock_gettime(self.id, &mut time) };
        (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_counts_and_sleep_does_not() {
        let clock = CpuClock::current_thread().unwrap();
        let start = clock.read().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.read().unwrap() - start < Duration::from_millis(15), "sleep is free");
        let until = Instant::now() + Duration::from_secs(10);
        while clock.read().unwrap() - start < Duration::from_millis(20) {
            assert!(Instant::now() < until, "a busy thread's clock advances");
        }
    }

    #[test]
    fn another_threads_clock_can_be_read_while_it_lives() {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(CpuClock::current_thread().unwrap()).unwrap();
            let _ = stopped.recv();
        });
        let clock = told.recv().unwrap();
        assert!(clock.read().is_some());
        drop(stop);
        thread.join().unwrap();
    }
}
