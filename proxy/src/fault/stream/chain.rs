//! One direction of a connection with byte-stream faults on it: the stages, in the order in which their faults were added, and
//! what has come through all of them.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;

use super::Toxic;
use super::stage::{Left, Next, PASSING, Piece, Stage};
use crate::clock::Instant;

/// The stages of one direction.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
    rng: Rng,
    out: VecDeque<Bytes>,
    out_len: usize,
    /// No more comes in.
    ended_in: bool,
    /// No more comes out after what is in `out`.
    ended_out: bool,
    closing: bool,
    reset: bool,
}

#[derive(Debug)]
struct Link {
    /// The fault's.
    id: u64,
    stage: Stage,
    /// It has given its last.
    over: bool,
}

/// How a direction ends, once nothing is left to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The stream has ended, like that.
    Passed,
    /// A stage closes the connection.
    Closed,
}

impl Chain {
    /// Whether it does nothing any more, and holds nothing.
    pub fn is_idle(&self) -> bool {
        self.links.is_empty() && self.out.is_empty() && !self.ended_in && !self.closing && !self.reset
    }

    /// The faults that are at work, in order.
    #[cfg(test)]
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.links.iter().map(|link| link.id)
    }

    /// Whether it takes more in at the moment.
    pub fn has_room(&self) -> bool {
        let first = self.links.first().map_or(self.out_len < PASSING, |first| first.over || first.stage.has_room());
        first && !self.ended_in && !self.closing && !self.reset
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: Bytes, now: Instant) {
        self.give(0, Piece { bytes, at: now }, now);
    }

    /// The stream has ended.
    pub fn end(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.ended_in, true) {
            self.give_end(0, now);
        }
    }

    /// Begins with a fault, at a place in the order.
    pub fn insert(&mut self, at: usize, id: u64, toxic: &Toxic, now: Instant) {
        let Some(mut stage) = Stage::begin(toxic, now) else { return };
        let at = at.min(self.links.len());
        // Where the end has gone by already, the stage has nothing to wait for.
        let over = match at.checked_sub(1) {
            None => self.ended_in,
            Some(before) => self.links.get(before).is_some_and(|link| link.over),
        };
        if over && at < self.links.len() && !self.links[at].over {
            // The end is still held further on: it has been here.
            stage.end(now);
        }
        self.links.insert(at, Link { id, stage, over });
    }

    /// Goes on with a fault's other attributes.
    pub fn change(&mut self, id: u64, toxic: &Toxic) {
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.stage.change(toxic);
        }
    }

    /// A fault that would reset the connection closes it instead.
    pub fn soften(&mut self, id: u64) {
        if let Some(Link { stage: Stage::ResetPeer(run), .. }) = self.links.iter_mut().find(|link| link.id == id) {
            run.closes = true;
        }
    }

    /// Ends a fault. What it held goes on at once, before anything that comes later.
    pub fn remove(&mut self, id: u64, now: Instant) {
        let Some(at) = self.links.iter().position(|link| link.id == id) else { return };
        let Link { stage, over, .. } = self.links.remove(at);
        let Left { pieces, ended, close } = stage.release();
        if over {
            return;
        }
        for piece in pieces {
            self.give(at, piece, now);
        }
        self.closing |= close;
        if ended || close {
            self.give_end(at, now);
        }
    }

    /// Moves on what has its time. When it wants to be called again although nothing has come.
    pub fn pump(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let mut due: Option<Instant> = None;
            let mut moved = false;
            // From the end, so that there is room for what comes next.
            for at in (0..self.links.len()).rev() {
                while !self.links[at].over && self.takes(at + 1) {
                    match self.links[at].stage.next(now, &mut self.rng) {
                        Next::Piece(piece) => {
                            moved = true;
                            self.give(at + 1, piece, now);
                            continue;
                        }
                        Next::Wait(until) => due = [due, until].into_iter().flatten().min(),
                        Next::End => {
                            moved = true;
                            self.links[at].over = true;
                            self.give_end(at + 1, now);
                        }
                        Next::Close => {
                            moved = true;
                            self.closing = true;
                            self.links[at].over = true;
                            self.give_end(at + 1, now);
                        }
                        Next::Reset => {
                            self.reset = true;
                            return None;
                        }
                    }
                    break;
                }
            }
            if !moved {
                return due;
            }
        }
    }

    /// What is to be written next: a piece of its own.
    pub fn front(&self) -> Option<&Bytes> {
        self.out.front()
    }

    /// So much of it was written.
    pub fn written(&mut self, n: usize) {
        self.out_len -= n;
        if let Some(first) = self.out.front_mut() {
            if n >= first.len() {
                self.out.pop_front();
            } else {
                let _ = first.split_to(n);
            }
        }
    }

    /// Whether a stage has reset the connection.
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// How it has ended, once everything is written.
    pub fn ended(&self) -> Option<End> {
        let over = self.ended_out && self.out.is_empty();
        over.then_some(if self.closing { End::Closed } else { End::Passed })
    }

    fn takes(&self, at: usize) -> bool {
        match self.links.get(at) {
            Some(link) => link.over || link.stage.has_room(),
            None => self.out_len < PASSING,
        }
    }

    fn give(&mut self, at: usize, piece: Piece, now: Instant) {
        match self.links.get_mut(at) {
            // What comes after a stage's last is lost, as on a closed connection.
            Some(link) if link.over => {}
            Some(link) => link.stage.push(piece, now, &mut self.rng),
            None if self.ended_out => {}
            None => {
                self.out_len += piece.bytes.len();
                self.out.push_back(piece.bytes);
            }
        }
    }

    fn give_end(&mut self, at: usize, now: Instant) {
        match self.links.get_mut(at) {
            Some(link) if link.over => {}
            Some(link) => link.stage.end(now),
            None => self.ended_out = true,
        }
    }
}
