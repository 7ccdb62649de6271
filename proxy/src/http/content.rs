//! A body as it lies in a buffer.
//!
//! What has been decoded stands at the buffer's beginning, in one piece; what has not been follows, after a gap of
//! framing that is done with. Chunks are moved together as they are decoded, so whoever reads sees plain bytes
//! whatever the framing was, and what belongs to the next message stays where it is.

use std::rc::Rc;

use super::framing::{Chunks, Length, Step};
use super::{Bad, Buffer, Head, HeadPool, Limits, Scan, parse};

/// How far a body has been decoded.
#[derive(Debug)]
pub struct Content {
    rest: Rest,
    ready: usize,
    gap: usize,
    trailers: Option<Rc<Head>>,
}

#[derive(Debug)]
enum Rest {
    Exact(u64),
    Chunked(Chunks),
    Trailers(Scan),
    UntilClose,
    Done,
    /// It broke a rule. What follows in the buffer is nothing that can be told.
    Broken {
        bad: Bad,
        at_trailers: bool,
    },
}

impl Content {
    /// A body that begins at the buffer's beginning.
    pub fn new(length: Length) -> Self {
        let rest = match length {
            Length::Exact(0) => Rest::Done,
            Length::Exact(left) => Rest::Exact(left),
            Length::Chunked => Rest::Chunked(Chunks::default()),
            Length::UntilClose => Rest::UntilClose,
        };
        Self { rest, ready: 0, gap: 0, trailers: None }
    }

    /// Bytes of body at the buffer's beginning.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Whether the whole body, trailers included, has come.
    pub fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    /// Whether all but the trailers has come; where a rule is broken, whether the trailers break it.
    pub fn is_at_trailers(&self) -> bool {
        matches!(self.rest, Rest::Trailers(_) | Rest::Broken { at_trailers: true, .. })
    }

    /// What followed the last chunk, if anything did.
    pub fn trailers(&self) -> Option<&Rc<Head>> {
        self.trailers.as_ref()
    }

    /// Decodes what was read since the last time. After an error there is nothing but that.
    pub fn advance(&mut self, buffer: &mut Buffer, limits: Limits, heads: &HeadPool) -> Result<(), Bad> {
        let advanced = self.decode(buffer, limits, heads);
        if let Err(bad) = advanced {
            self.rest = Rest::Broken { bad, at_trailers: self.is_at_trailers() };
        }
        advanced
    }

    fn decode(&mut self, buffer: &mut Buffer, limits: Limits, heads: &HeadPool) -> Result<(), Bad> {
        loop {
            match &mut self.rest {
                Rest::Broken { bad, .. } => return Err(*bad),
                Rest::Done => return Ok(()),
                Rest::UntilClose => {
                    self.ready = buffer.len();
                    return Ok(());
                }
                Rest::Exact(left) => {
                    let more = (*left).min((buffer.len() - self.ready) as u64);
                    *left -= more;
                    // No more than the buffer has, so it fits.
                    self.ready += more as usize;
                    if *left == 0 {
                        self.rest = Rest::Done;
                    }
                    return Ok(());
                }
                Rest::Chunked(chunks) => {
                    let raw = self.ready + self.gap;
                    let step = chunks.step(&buffer.bytes()[raw..])?;
                    match step {
                        Step::More { skip } => {
                            self.gap += skip;
                            buffer.truncate(self.ready);
                            self.gap = 0;
                            if self.ready == 0 {
                                buffer.consume(0);
                            }
                            return Ok(());
                        }
                        Step::Data { skip, len } if self.ready == 0 => {
                            buffer.consume(self.gap + skip);
                            self.gap = 0;
                            self.ready = len;
                        }
                        Step::Data { skip, len } => {
                            let from = raw + skip;
                            buffer.bytes_mut().copy_within(from..from + len, self.ready);
                            self.ready += len;
                            self.gap += skip;
                        }
                        Step::Last { skip } => {
                            self.gap += skip;
                            self.rest = Rest::Trailers(Scan::default());
                        }
                    }
                }
                Rest::Trailers(scan) => {
                    let block = &buffer.bytes()[self.ready + self.gap..];
                    let Some(end) = scan.block(block, limits)? else { return Ok(()) };
                    if end > 2 {
                        let mut head = heads.take();
                        if let Some(inner) = Rc::get_mut(&mut head) {
                            parse::trailers(&block[..end], inner)?;
                        }
                        self.trailers = Some(head);
                    }
                    self.gap += end;
                    self.rest = Rest::Done;
                }
            }
        }
    }

    /// The first `n` bytes that are ready are done with.
    pub fn consume(&mut self, buffer: &mut Buffer, n: usize) {
        let n = n.min(self.ready);
        self.ready -= n;
        let gap = if self.ready == 0 { std::mem::take(&mut self.gap) } else { 0 };
        buffer.consume(n + gap);
    }

    /// Whether the buffer holds more than this body, once that is complete: something of the next message, or
    /// something sent out of turn.
    pub fn leaves(&self, buffer: &Buffer) -> bool {
        !self.beyond(buffer).is_empty()
    }

    /// What the buffer holds beyond this body, once that is complete.
    pub fn beyond<'b>(&self, buffer: &'b Buffer) -> &'b [u8] {
        if self.is_complete() { buffer.bytes().get(self.ready + self.gap..).unwrap_or_default() } else { &[] }
    }

    /// Drops that.
    pub fn cut(&mut self, buffer: &mut Buffer) {
        if self.is_complete() {
            buffer.truncate(self.ready);
            self.gap = 0;
        }
    }

    /// The peer has closed. False if the body was to be longer.
    pub fn close(&mut self) -> bool {
        if matches!(self.rest, Rest::UntilClose) {
            self.rest = Rest::Done;
        }
        self.is_complete()
    }
}

#[cfg(test)]
mod tests;
