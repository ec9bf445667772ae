//! Numbers that are worked out from the time once for all packets that leave at the same moment.

use std::time::Instant;

/// The newest such number, and its moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AtMoment<T>(Option<(Instant, T)>);

impl<T: Copy> AtMoment<T> {
    /// What it is now; `work_out` is asked when another moment was asked for last.
    #[inline]
    pub(crate) fn get(&mut self, now: Instant, work_out: impl FnOnce() -> T) -> T {
        match self.0 {
            Some((at, value)) if at == now => value,
            _ => {
                let value = work_out();
                self.0 = Some((now, value));
                value
            }
        }
    }
}
