//! What was committed, by number: from the tail, or from the log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use backplane::{Failed, Log};
use messaging::event::{Entry, Event, Record};

/// A log, whichever it is.
pub trait Library: Send + Sync {
    /// The events of these numbers, in the order given; what is no event, or not there any more, is left out.
    fn events(&self, partition: u16, numbers: Vec<u64>) -> Found<'_>;
}

/// Events to come.
pub type Found<'a> = Pin<Box<dyn Future<Output = Result<Vec<Arc<Event>>, Failed>> + Send + 'a>>;

impl<L: Log> Library for L {
    fn events(&self, partition: u16, numbers: Vec<u64>) -> Found<'_> {
        Box::pin(async move {
            let picked = self.pick(partition, numbers).await?;
            picked.iter().filter_map(|event| decoded(&event.payload).transpose()).collect()
        })
    }
}

/// The event of a record; `None`: it holds none.
fn decoded(payload: &[u8]) -> Result<Option<Arc<Event>>, Failed> {
    match Record::read(payload) {
        Ok(Record { entry: Entry::Event { event }, .. }) => Ok(Some(event)),
        Ok(_) => Ok(None),
        Err(error) => Err(Failed(format!("an event in the log cannot be read: {error}"))),
    }
}
