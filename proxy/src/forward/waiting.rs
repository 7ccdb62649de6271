//! What a request waits for: its live attempts, the next thing that is due, and its end.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::clock::Instant;
use crate::config::settings::Protocol;
use crate::error::Reason;
use crate::forward::attempt::AttemptContext;
use crate::forward::race::AttemptOutcome;
use crate::request::body::Upload;
use crate::request::grpc::Dialect;
use crate::resilience::deadline::Deadline;
use crate::timer::{self, Timer};
use crate::upstream::slow::Held;
use crate::worker::attempt_info::AttemptInfo;

/// Attempts that are under way.
pub trait Live<'r> {
    /// Ready with the first that has an answer or has broken; it is no longer among them then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<AttemptOutcome<'r>>;
    /// When the next thing is to be done that nothing from outside calls for. The request's body had come at `ended`.
    fn due(&self, ended: Option<Instant>) -> Option<Instant>;
    /// When one of them has to be polled although nothing has come.
    fn wakes(&self) -> Option<Instant>;
    /// What is known of the one that was started first.
    fn eldest(&self) -> Option<&AttemptInfo>;
}

/// What ends a wait.
#[allow(clippy::large_enum_variant, reason = "nearly every turn is the large one, and a box is an allocation")]
pub enum Turn<'r> {
    /// An attempt has an answer, or has broken.
    Ended(AttemptOutcome<'r>),
    /// The time that was asked for has come.
    Due,
    /// The request is over.
    Over(Reason),
}

/// The request's time.
pub struct Clock<'a> {
    /// The connection's timer.
    pub timer: &'a Timer,
    /// The request's body: its time runs from the body's end.
    pub body: &'a Rc<Upload>,
    /// When the request is over.
    pub deadline: Deadline,
    /// The endpoint's connection that waits for the body.
    pub held: Option<Held>,
}

impl Clock<'_> {
    /// Waits for the live attempts, for `due`, and for the request's end. What has arrived is looked at before the time
    /// is, so that a worker that was held up does not fail what it had in fact got.
    pub async fn turn<'r>(&mut self, live: &mut impl Live<'r>, x: AttemptContext<'r>) -> Turn<'r> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = live.poll(cx) {
                    return Poll::Ready(Turn::Ended(ended));
                }
                let ended = self.body.ended();
                if self.is_too_slow(cx, live, x, ended) {
                    return Poll::Ready(Turn::Over(Reason::TooSlow));
                }
                if ended.is_none() {
                    self.body.wake_at_end(cx);
                }
                let over = self.deadline.at(ended, self.body.moved());
                let due = live.due(ended);
                let next = [due, live.wakes()].into_iter().flatten().fold(over, Instant::min);
                if self.timer.poll(cx, next).is_pending() {
                    return Poll::Pending;
                }
                if next == over {
                    let starved = ended.is_none() && self.body.is_starved();
                    return Poll::Ready(Turn::Over(if starved { Reason::BodyTimeout } else { Reason::Timeout }));
                }
                if due == Some(next) {
                    return Poll::Ready(Turn::Due);
                }
            }
        })
        .await
    }

    /// Whether the body comes so slowly that the connection it keeps waiting goes to others. Nothing but the look at its end
    /// where the body came with the head.
    fn is_too_slow<'r>(
        &mut self,
        cx: &Context<'_>,
        live: &impl Live<'r>,
        x: AttemptContext<'r>,
        ended: Option<Instant>,
    ) -> bool {
        if ended.is_some() {
            self.held = None;
            return false;
        }
        // Over HTTP/2 a body holds a stream, and no connection.
        let Some(info) = live.eldest().filter(|_| x.policy.protocol != Protocol::Http2) else { return false };
        if self.held.as_ref().is_none_or(|held| !held.is_of(&info.upstream)) {
            let (who, exempt) = (x.request.origin(), Dialect::of(&x.request.head) == Dialect::Grpc);
            self.held = Some(Held::sending(&info.upstream, self.body, who, exempt, timer::now()));
        }
        self.held.as_ref().is_some_and(|held| held.has_to_go(cx))
    }
}
