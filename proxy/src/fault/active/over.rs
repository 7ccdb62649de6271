//! Waiting for a fault's end: the only part of it that knows a timer.

use super::Active;

impl Active {
    /// Returns when it is over. What it holds up races against this.
    pub async fn over(&self) {
        let mut ended = self.ended.subscribe();
        let told = ended.wait_for(|over| *over);
        match self.until {
            // It cannot fail: the sender is here.
            Some(until) => drop(tokio::time::timeout_at(until.into(), told).await),
            None => drop(told.await),
        }
    }
}
