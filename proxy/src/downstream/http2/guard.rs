//! What a client may send over HTTP/2 that brings no request nearer to its answer.
//!
//! Frames are cheap to send and cost their receiver: a PING is answered, SETTINGS are applied to every stream, a
//! request that is reset at once was begun. A client that sends nothing else keeps a core busy. So such frames are
//! paid for: a connection begins with some credit, time adds a little, and what the connection carries adds as much
//! as honest clients spend on it. An answer pays for one reset, DATA for the windows that are opened for it. Who
//! cancels half of its requests, or probes the line with each answer, never runs out. Who does nothing else does.
//!
//! A client can also bring the proxy to reset its streams, with frames that break a rule on one stream. That costs
//! what resetting them itself would have cost, and is paid from the same credit.
//!
//! Frames are judged by their heads, before the `h2` crate has seen them. A block of fields is bounded here, too, as
//! it comes over the wire ([`blocks`] says why).

use std::time::Duration;

use crate::clock::Instant;
use crate::http::Limits;
use crate::http2::blocks;
use crate::timer;

/// What a connection was ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// Streams that the client resets.
    Resets,
    /// Streams that the proxy has to reset, because the client breaks a rule on them.
    ProvokedResets,
    /// SETTINGS.
    Settings,
    /// PINGs, and answers to PINGs.
    Pings,
    /// PRIORITY.
    Priorities,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// Blocks of fields in too many frames.
    Continuations,
    /// Blocks of fields, or lists of fields that they make, far above what a head may have.
    Heads,
    /// DATA without data, or with very little of it.
    Data,
    /// Frames that say nothing to a server, or that nobody knows.
    OtherFrames,
    /// Anything else that breaks a rule of the connection.
    Protocol,
}

impl Abuse {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Resets,
        Self::ProvokedResets,
        Self::Settings,
        Self::Pings,
        Self::Priorities,
        Self::WindowUpdates,
        Self::Continuations,
        Self::Heads,
        Self::Data,
        Self::OtherFrames,
        Self::Protocol,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::ProvokedResets => "provoked_resets",
            Self::Settings => "settings",
            Self::Pings => "pings",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window_updates",
            Self::Continuations => "continuations",
            Self::Heads => "heads",
            Self::Data => "data",
            Self::OtherFrames => "other_frames",
            Self::Protocol => "protocol",
        }
    }

    /// What the `h2` crate has ended a connection for, and has said in GOAWAY. None where it was not the client's doing.
    pub fn found(error: &h2::Error, said: &[u8]) -> Option<Self> {
        if !error.is_library() || matches!(error.reason(), None | Some(h2::Reason::NO_ERROR)) {
            return None;
        }
        // Which of its limits was reached stands in the text that it sends along with GOAWAY, and nowhere else.
        let said = String::from_utf8_lossy(said);
        let of = |what| said.contains(what);
        Some(if of("too_many_resets") {
            Self::Resets
        } else if of("too_many_internal_resets") {
            Self::ProvokedResets
        } else if of("too_many_continuations") {
            Self::Continuations
        } else if of("header_list_way_too_large") {
            Self::Heads
        } else if of("too_many_data_frames") {
            Self::Data
        } else {
            Self::Protocol
        })
    }
}

/// A frame's head, as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Its type.
    pub kind: u8,
    /// The length of its payload.
    pub len: u32,
}

/// A type of frame: a body's bytes.
pub const DATA: u8 = 0;
/// A type of frame: a head, or trailers.
pub const HEADERS: u8 = 1;
/// A type of frame: the stream is given up.
pub const RST_STREAM: u8 = 3;
/// A type of frame: no further streams.
pub const GOAWAY: u8 = 7;
/// A type of frame: the rest of a head.
pub const CONTINUATION: u8 = 9;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// What one connection may still cost.
#[derive(Debug)]
pub struct Guard {
    chores: Credit,
    resets: Credit,
    /// The size of the block of fields that is under way, or of the last one, and how many frames it has.
    block: (usize, usize),
    most: usize,
}

impl Guard {
    /// For a connection that has just opened.
    pub fn new(limits: Limits) -> Self {
        Self {
            chores: Credit::new(CHORES, CHORES_A_SECOND),
            resets: Credit::new(RESETS, RESETS_A_SECOND),
            block: (0, 0),
            most: blocks::most(limits),
        }
    }

    /// A frame has come from the client.
    ///
    /// # Errors
    /// It is one too many.
    pub fn came(&mut self, frame: FrameHead) -> Result<(), Abuse> {
        let (what, price) = match frame.kind {
            DATA => {
                self.chores.earn(earned_by(frame.len));
                return Ok(());
            }
            HEADERS => {
                self.block = (frame.len as usize, 1);
                return self.block_fits();
            }
            CONTINUATION => {
                self.block = (self.block.0 + frame.len as usize, self.block.1 + 1);
                return self.block_fits();
            }
            RST_STREAM => return self.resets.spend(1).ok_or(Abuse::Resets),
            SETTINGS => (Abuse::Settings, SETTINGS_COST),
            PING => (Abuse::Pings, 1),
            PRIORITY => (Abuse::Priorities, 1),
            WINDOW_UPDATE => (Abuse::WindowUpdates, 1),
            _ => (Abuse::OtherFrames, 1),
        };
        self.chores.spend(price).ok_or(what)
    }

    /// A frame goes to the client.
    pub fn went(&mut self, frame: FrameHead) {
        match frame.kind {
            DATA => self.chores.earn(earned_by(frame.len)),
            HEADERS => {
                self.chores.earn(BY_A_HEAD);
                self.resets.earn(1);
            }
            _ => {}
        }
    }

    /// The proxy resets a stream.
    ///
    /// # Errors
    /// It is one too many for what the client did.
    pub fn resets(&mut self, code: u32) -> Result<(), Abuse> {
        let theirs = [
            h2::Reason::PROTOCOL_ERROR,
            h2::Reason::FLOW_CONTROL_ERROR,
            h2::Reason::STREAM_CLOSED,
            h2::Reason::FRAME_SIZE_ERROR,
            h2::Reason::REFUSED_STREAM,
        ];
        if theirs.contains(&h2::Reason::from(code)) {
            return self.resets.spend(1).ok_or(Abuse::ProvokedResets);
        }
        Ok(())
    }

    fn block_fits(&self) -> Result<(), Abuse> {
        let (size, frames) = self.block;
        if size > self.most {
            return Err(Abuse::Heads);
        }
        // A block at the bound, in frames of the size that everybody may send, and as many again.
        if frames > self.most / FRAME + SPARE_FRAMES { Err(Abuse::Continuations) } else { Ok(()) }
    }
}

/// What opening windows for a frame of DATA costs honest readers at the most: two frames for each 1 KiB.
fn earned_by(len: u32) -> u32 {
    if len == 0 { 0 } else { 2 + len / 512 }
}

/// A bucket of tokens. The clock is read only when it is empty.
#[derive(Debug)]
struct Credit {
    left: u32,
    most: u32,
    a_second: u32,
    filled: Instant,
}

impl Credit {
    fn new(most: u32, a_second: u32) -> Self {
        Self { left: most, most, a_second, filled: timer::now() }
    }

    fn earn(&mut self, tokens: u32) {
        self.left = (self.left + tokens).min(self.most);
    }

    /// None where the credit is used up.
    fn spend(&mut self, tokens: u32) -> Option<()> {
        if self.left < tokens {
            let now = timer::now();
            let whole: Duration = now.saturating_duration_since(self.filled);
            let came = whole.as_millis().saturating_mul(u128::from(self.a_second)) / 1000;
            if came > 0 {
                self.filled = now;
                self.earn(u32::try_from(came).unwrap_or(self.most).min(self.most));
            }
        }
        self.left = self.left.checked_sub(tokens)?;
        Some(())
    }
}

/// PING, PRIORITY, WINDOW_UPDATE and frames that nobody knows: what a connection may send before it has carried anything.
const CHORES: u32 = 1000;
const CHORES_A_SECOND: u32 = 100;
/// SETTINGS are applied to every stream.
const SETTINGS_COST: u32 = 20;
/// A client opens its window for a stream, says its priority, and asks whether the connection lives.
const BY_A_HEAD: u32 = 4;
/// All streams of a connection, which a client may have to cancel at once.
const RESETS: u32 = 256;
const RESETS_A_SECOND: u32 = 50;
/// The largest frame that a client may send (SETTINGS_MAX_FRAME_SIZE).
const FRAME: usize = 16 * 1024;
const SPARE_FRAMES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, len: u32) -> FrameHead {
        FrameHead { kind, len }
    }

    fn guard() -> Guard {
        Guard::new(Limits { bytes: 32 * 1024, lines: 100 })
    }

    /// How many of these are taken before one is too many, and what that is called.
    fn taken(guard: &mut Guard, mut each: impl FnMut(&mut Guard) -> Result<(), Abuse>) -> (u32, Abuse) {
        let mut count = 0;
        loop {
            match each(guard) {
                Ok(()) => count += 1,
                Err(abuse) => return (count, abuse),
            }
            assert!(count < 1_000_000, "without end");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_each_kind_is_ended_and_named() {
        for (kind, most, abuse) in [
            (PING, 1000, Abuse::Pings),
            (PRIORITY, 1000, Abuse::Priorities),
            (WINDOW_UPDATE, 1000, Abuse::WindowUpdates),
            (SETTINGS, 50, Abuse::Settings),
            (16, 1000, Abuse::OtherFrames),
            (RST_STREAM, 256, Abuse::Resets),
        ] {
            assert_eq!(taken(&mut guard(), |guard| guard.came(frame(kind, 8))), (most, abuse));
        }
        let provoked = |guard: &mut Guard| guard.resets(u32::from(h2::Reason::STREAM_CLOSED));
        assert_eq!(taken(&mut guard(), provoked), (256, Abuse::ProvokedResets));
        // DATA without data pays for nothing.
        let mixed = |guard: &mut Guard| guard.came(frame(DATA, 0)).and_then(|()| guard.came(frame(PING, 8)));
        assert_eq!(taken(&mut guard(), mixed), (1000, Abuse::Pings));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_proxy_resets_for_reasons_of_its_own_costs_the_client_nothing() {
        let mut guard = guard();
        for code in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
            assert!((0..10_000).all(|_| guard.resets(u32::from(code)).is_ok()), "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_answers_may_cancel_as_many_and_open_windows_for_all_that_comes() {
        let mut guard = guard();
        for _ in 0..100_000 {
            guard.came(frame(HEADERS, 40)).unwrap();
            guard.came(frame(PRIORITY, 5)).unwrap();
            guard.went(frame(HEADERS, 40));
            guard.went(frame(DATA, 16 * 1024));
            // A reader of 4 KiB that opens both windows each time.
            (0..8).for_each(|_| guard.came(frame(WINDOW_UPDATE, 4)).unwrap());
            guard.came(frame(PING, 8)).unwrap();
            guard.came(frame(RST_STREAM, 4)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_gives_credit_back_and_no_more_than_there_was() {
        let mut guard = guard();
        let ping = |guard: &mut Guard| guard.came(frame(PING, 8));
        assert_eq!(taken(&mut guard, ping).0, 1000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(taken(&mut guard, ping).0, 200);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(&mut guard, ping).0, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_is_bounded_in_bytes_and_in_frames() {
        let most = 3 * 32 * 1024;
        let mut guard = guard();
        for _ in 0..3 {
            guard.came(frame(HEADERS, 16 * 1024)).unwrap();
            (0..5).for_each(|_| guard.came(frame(CONTINUATION, 16 * 1024)).unwrap());
        }
        assert_eq!(guard.came(frame(CONTINUATION, 1)), Err(Abuse::Heads));
        assert_eq!(guard.came(frame(HEADERS, most + 1)), Err(Abuse::Heads));
        guard.came(frame(HEADERS, 0)).unwrap();
        let empty = |guard: &mut Guard| guard.came(frame(CONTINUATION, 0));
        assert_eq!(taken(&mut guard, empty), (13, Abuse::Continuations));
    }
}
