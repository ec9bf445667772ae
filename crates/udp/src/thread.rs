//! Where and before whom a thread runs: for measurements, which other programs on the machine must not disturb.

use std::io;

/// The cores on which the calling thread may run.
pub fn cores() -> Vec<usize> {
    // SAFETY: an all-zero set is a value of this plain type, and a valid place for the result.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size describe the live set.
    let error = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    let known = if error == 0 { libc::CPU_SETSIZE as usize } else { 0 };
    // SAFETY: the index is below the size of the set.
    (0..known).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// The calling thread, and those that it starts, run on this core alone.
///
/// # Errors
/// There is no such core, or it is not for this process.
pub fn stay_on(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero set is a value of this plain type.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer and the size describe the live set.
    checked(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })
}

/// How urgent a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It runs as soon as it can, whoever else wants the core (`SCHED_FIFO`). For one that sleeps most of its time.
    AtOnce,
    /// It gets nearly all of its core (a nice value of -20). For one that never sleeps, since what the kernel has to do there
    /// is not kept out.
    Most,
}

/// Makes the calling thread, and those that it starts, this urgent.
///
/// # Errors
/// The process may not (it needs `CAP_SYS_NICE`).
pub fn set_urgency(urgency: Urgency) -> io::Result<()> {
    let (policy, priority) = match urgency {
        Urgency::AtOnce => (libc::SCHED_FIFO, 1),
        Urgency::Most => (libc::SCHED_OTHER, 0),
    };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a live value.
    checked(unsafe { libc::sched_setscheduler(0, policy, &parameters) })?;
    match urgency {
        Urgency::AtOnce => Ok(()),
        // SAFETY: no pointers are passed.
        Urgency::Most => checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) }),
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_put_and_so_do_those_that_it_starts() {
        let core = *cores().last().expect("this thread runs somewhere");
        let here = std::thread::spawn(move || {
            stay_on(core).expect("it may run there");
            (cores(), std::thread::spawn(cores).join().expect("it ends"))
        });
        assert_eq!(here.join().expect("it ends"), (vec![core], vec![core]));
        assert!(stay_on(1 << 20).is_err());
    }
}
