//! A panic ends what panicked, not the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; `None` when it panicked. The caller drops every value that `work` could have left half changed: that is
/// what makes the assertion of unwind safety true.
pub(crate) fn guard<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Drops a value that panicked, whose destructor may panic too.
pub(crate) fn discard<T>(value: T) {
    guard(|| drop(value));
}

/// For tests: makes the work of one peer or one room panic the next time.
#[cfg(test)]
pub(crate) mod trap {
    use std::sync::Mutex;

    static SET: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    /// The next [`spring`] of this id panics.
    pub(crate) fn set(id: u64) {
        SET.lock().unwrap().push(id);
    }

    pub(crate) fn spring(id: u64) {
        let mut set = SET.lock().unwrap();
        if let Some(at) = set.iter().position(|each| *each == id) {
            set.remove(at);
            drop(set);
            panic!("injected");
        }
    }
}
