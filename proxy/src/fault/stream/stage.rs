//! A byte-stream fault at work in one direction of one connection.
//!
//! A stage takes pieces in, holds them for as long as it has to, and gives them out in the same order. It reads no clock and
//! waits for nothing: it is handed the time, and says when it wants to be asked again. So all of them are tested in virtual
//! time, and ending one is no more than taking out what it holds.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;

use super::{Toxic, bandwidth, latency, limit_data, reset_peer, slicer, slow_close, timeout};
use crate::clock::Instant;

/// Bytes that were read in one go, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes. Never none.
    pub bytes: Bytes,
    /// When they came; later by what a stage before has held them back on purpose, so that delays add up.
    pub at: Instant,
}

/// What comes out of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These bytes.
    Piece(Piece),
    /// Nothing before this time, or before something comes in.
    Wait(Option<Instant>),
    /// Nothing ever: the stream has ended here.
    End,
    /// Nothing ever: the stage ends the connection.
    Close,
    /// Nothing ever: the stage resets the connection.
    Reset,
}

/// What a stage that was removed leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What it held, in order.
    pub pieces: Vec<Piece>,
    /// Whether the stream's end had come in.
    pub ended: bool,
    /// Whether its removal closes the connection.
    pub close: bool,
}

/// A byte-stream fault at work.
#[derive(Debug)]
pub enum Stage {
    /// See [`latency`].
    Latency(latency::Run),
    /// See [`bandwidth`].
    Bandwidth(bandwidth::Run),
    /// See [`slow_close`].
    SlowClose(slow_close::Run),
    /// See [`timeout`].
    Timeout(timeout::Run),
    /// See [`reset_peer`].
    ResetPeer(reset_peer::Run),
    /// See [`slicer`].
    Slicer(slicer::Run),
    /// See [`limit_data`].
    LimitData(limit_data::Run),
}

/// The same call, whichever it is.
macro_rules! each {
    ($stage:expr, $run:ident => $call:expr) => {
        match $stage {
            Stage::Latency($run) => $call,
            Stage::Bandwidth($run) => $call,
            Stage::SlowClose($run) => $call,
            Stage::Timeout($run) => $call,
            Stage::ResetPeer($run) => $call,
            Stage::Slicer($run) => $call,
            Stage::LimitData($run) => $call,
        }
    };
}

impl Stage {
    /// Begins at `now`. None for what does nothing to bytes.
    pub fn begin(toxic: &Toxic, now: Instant) -> Option<Self> {
        Some(match toxic {
            Toxic::Latency(a) => Self::Latency(latency::Run::new(*a)),
            Toxic::Bandwidth(a) => Self::Bandwidth(bandwidth::Run::new(*a, now)),
            Toxic::SlowClose(a) => Self::SlowClose(slow_close::Run::new(*a)),
            Toxic::Timeout(a) => Self::Timeout(timeout::Run::new(*a, now)),
            Toxic::ResetPeer(a) => Self::ResetPeer(reset_peer::Run::new(*a)),
            Toxic::Slicer(a) => Self::Slicer(slicer::Run::new(*a, now)),
            Toxic::LimitData(a) => Self::LimitData(limit_data::Run::new(*a)),
            Toxic::Noop(_) | Toxic::Down(_) => return None,
        })
    }

    /// Goes on with other attributes. False when it is another type.
    pub fn change(&mut self, toxic: &Toxic) -> bool {
        match (self, toxic) {
            (Self::Latency(run), Toxic::Latency(a)) => run.change(*a),
            (Self::Bandwidth(run), Toxic::Bandwidth(a)) => run.attributes = *a,
            (Self::SlowClose(run), Toxic::SlowClose(a)) => run.attributes = *a,
            (Self::Timeout(run), Toxic::Timeout(a)) => run.attributes = *a,
            (Self::ResetPeer(run), Toxic::ResetPeer(a)) => run.attributes = *a,
            (Self::Slicer(run), Toxic::Slicer(a)) => run.attributes = *a,
            (Self::LimitData(run), Toxic::LimitData(a)) => run.attributes = *a,
            _ => return false,
        }
        true
    }

    /// Whether it takes more in at the moment. What it is given nevertheless is kept.
    pub fn has_room(&self) -> bool {
        each!(self, run => run.has_room())
    }

    /// Takes a piece in.
    pub fn push(&mut self, piece: Piece, now: Instant, rng: &mut Rng) {
        match self {
            Self::Latency(run) => run.push(piece, rng),
            Self::Bandwidth(run) => run.push(piece, now),
            Self::SlowClose(run) => run.held.push(piece),
            Self::Timeout(_) => {}
            Self::ResetPeer(run) => run.touch(now),
            Self::Slicer(run) => run.held.push(piece),
            Self::LimitData(run) => run.push(piece),
        }
    }

    /// The stream has ended.
    pub fn end(&mut self, now: Instant) {
        match self {
            Self::Latency(run) => run.ended = true,
            Self::Bandwidth(run) => run.held.ended = true,
            Self::SlowClose(run) => run.end(now),
            Self::Timeout(run) => run.ended = true,
            Self::ResetPeer(run) => run.touch(now),
            Self::Slicer(run) => run.held.ended = true,
            Self::LimitData(run) => run.held.ended = true,
        }
    }

    /// What comes out at `now`. After one of the three ends it is not asked again.
    pub fn next(&mut self, now: Instant, rng: &mut Rng) -> Next {
        match self {
            Self::Latency(run) => run.next(now),
            Self::Bandwidth(run) => run.next(now),
            Self::SlowClose(run) => run.next(now),
            Self::Timeout(run) => run.next(now),
            Self::ResetPeer(run) => run.next(now),
            Self::Slicer(run) => run.next(now, rng),
            Self::LimitData(run) => run.next(),
        }
    }

    /// Ends it.
    pub fn release(self) -> Left {
        each!(self, run => run.release())
    }
}

/// Pieces that wait, and whether their end has come in.
#[derive(Debug, Default)]
pub struct Held {
    /// In order.
    pub pieces: VecDeque<Piece>,
    /// Their bytes, with what holding each of them costs.
    pub cost: usize,
    /// Whether no more come in.
    pub ended: bool,
}

/// What holding a piece costs beside its bytes, roughly: many small ones are as bounded as few large ones.
pub const PIECE: usize = 128;
/// What a stage holds that does so in passing only.
pub const PASSING: usize = 64 * 1024;

impl Held {
    /// Takes a piece in.
    pub fn push(&mut self, piece: Piece) {
        self.cost += piece.bytes.len() + PIECE;
        self.pieces.push_back(piece);
    }

    /// Gives the first one out.
    pub fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.cost -= piece.bytes.len() + PIECE;
        Some(piece)
    }

    /// Gives out the first bytes, `most` at most, of the first piece.
    pub fn split(&mut self, most: usize) -> Option<Piece> {
        let first = self.pieces.front_mut()?;
        if first.bytes.len() <= most {
            return self.pop();
        }
        self.cost -= most;
        Some(Piece { bytes: first.bytes.split_to(most), at: first.at })
    }

    /// What follows when no piece is left.
    pub fn rest(&self) -> Next {
        if self.ended { Next::End } else { Next::Wait(None) }
    }

    /// All of it, for whoever comes after.
    pub fn left(self) -> Left {
        Left { pieces: self.pieces.into(), ended: self.ended, close: false }
    }
}
