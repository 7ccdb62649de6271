//! Sends the cases, and holds what the clients were told and what the server has read against what was meant.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use chaos_tests::raw::{Broken, Connection, Fault, Message};
use serde_json::Value;

use super::corpus::{Case, Expected, MARKED, Request, tagged};
use super::http2;
use super::servers::{Report, Server};

/// What the names of cases over HTTP/2 begin with.
const OVER_HTTP2: &str = "HTTP/2, ";

/// What came back for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server's, and the request that it says it has read; none where the answer has no body.
    Read(Option<Request>),
    /// The proxy's, with its status.
    Refused(u16),
    /// The server's, with an error: it does not take such a request.
    Declined(u16),
    /// None.
    Ended,
    /// Something that cannot be told apart from it, or nothing in time.
    Unclear(String),
}

/// What the client of a case was told.
#[derive(Debug)]
pub struct Told {
    pub case: Answer,
    pub marker: Answer,
}

pub struct Judge<'s> {
    server: &'s Server,
    patience: Duration,
    through: bool,
    cases: Vec<(String, Expected, Told)>,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Summary {
    pub cases: usize,
    pub refused: usize,
    pub read: usize,
    /// What was passed on and the server does not take.
    pub declined: Vec<String>,
    /// How often the marker was the next request on the connection of its case.
    pub followed: usize,
    pub faults: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, refused, read, declined, followed, .. } = self;
        write!(
            f,
            "of {cases} cases {refused} refused by the proxy, {read} read as they were meant ({followed} with the "
        )?;
        write!(f, "marker right behind), {} declined by the server: {}", declined.len(), declined.join(" | "))
    }
}

impl<'s> Judge<'s> {
    /// For a server behind the proxy.
    pub fn behind_the_proxy(server: &'s Server) -> Self {
        Self { server, patience: Duration::from_secs(5), through: true, cases: Vec::new() }
    }

    /// For a server without a proxy. What it waits for it does not get, so it is given little time.
    pub fn alone(server: &'s Server) -> Self {
        Self { server, patience: Duration::from_millis(300), through: false, cases: Vec::new() }
    }

    pub fn http1(&mut self, address: SocketAddr, corpus: &[Case]) {
        for case in corpus {
            let told = self.send(address, case);
            self.cases.push((case.what.clone(), case.expected.clone(), told));
        }
    }

    pub fn http2(&mut self, address: SocketAddr, corpus: &[http2::Case]) {
        for case in corpus {
            let told = case.send(address, self.cases.len());
            self.cases.push((format!("{OVER_HTTP2}{}", case.what), case.expected.clone(), told));
        }
    }

    fn send(&self, address: SocketAddr, case: &Case) -> Told {
        let mut client = Connection::open(address);
        client.patience(self.patience);
        // Whoever refuses may close before all is sent.
        client.try_send(case.wire(self.cases.len())).ok();
        let method = match &case.expected {
            Expected::Passed(read) | Expected::Last(read) | Expected::Either(read) => read.method.as_str(),
            Expected::Refused => "GET",
        };
        let first = answer(client.try_answer(method), method);
        match first {
            Answer::Ended | Answer::Unclear(_) => Told { case: first, marker: Answer::Ended },
            _ => Told { case: first, marker: answer(client.try_answer("GET"), "GET") },
        }
    }

    fn judge(&self, nth: usize, reports: &[Report], summary: &mut Summary) -> Result<(), String> {
        let (what, expected, told) = &self.cases[nth];
        let marker =
            Request { method: "GET".into(), target: tagged(MARKED, nth), host: "marker".into(), body: Vec::new() };
        let marked = reports.iter().filter(|report| report.request == marker).count();
        let refused = matches!(told.case, Answer::Refused(_) | Answer::Ended);
        let meant = expected.request(nth).filter(|_| !(refused && matches!(expected, Expected::Either(_))));
        let Some(mut meant) = meant else {
            if let Some(report) = reports.iter().find(|report| report.request != marker) {
                return Err(format!("not refused, but read as {:?}", report.request));
            }
            // Over HTTP/2 a stream ends, and its connection may go on.
            let stream = what.starts_with(OVER_HTTP2);
            let refused = match told.case {
                Answer::Refused(400..=499 | 501 | 505) => true,
                Answer::Ended => stream || !self.through,
                _ => !self.through,
            };
            let ended = marked == 0 && matches!(told.marker, Answer::Ended);
            let goes_on = marked == 1 && told.marker == Answer::Read(Some(marker));
            return match refused {
                true if ended || stream && goes_on || !self.through && marked == 0 => {
                    summary.refused += 1;
                    Ok(())
                }
                true => Err("the connection goes on behind what was refused".into()),
                false => Err("not refused".into()),
            };
        };
        if self.server.merges_slashes {
            meant.target = format!("/{}", meant.target.trim_start_matches('/'));
        }
        if let Some(report) = reports.iter().find(|report| report.request != meant && report.request != marker) {
            return Err(format!("read as {:?}, not as {meant:?}", report.request));
        }
        let as_meant = reports.iter().filter(|report| report.request == meant).count();
        // A server may close with bytes unread, and the reset overtakes its answer: then the proxy has none to pass on.
        let declined = matches!(told.case, Answer::Declined(_) | Answer::Refused(502));
        match &told.case {
            Answer::Read(said) if as_meant == 1 && said.as_ref().is_none_or(|said| *said == meant) => summary.read += 1,
            Answer::Declined(status) | Answer::Refused(status @ 502) if as_meant == 0 => {
                summary.declined.push(format!("{what} ({status})"))
            }
            _ => return Err(format!("{as_meant} times read as {meant:?}")),
        }
        let last = matches!(expected, Expected::Last(_));
        match &told.marker {
            Answer::Read(Some(said)) if !last && marked == 1 && *said == marker => {}
            Answer::Ended | Answer::Refused(400) if (last || declined) && marked == 0 => {}
            _ => return Err(format!("the marker was read {marked} times")),
        }
        let place = |request: &Request| reports.iter().find(|report| report.request == *request)?.place.clone();
        if let (Some((on, nth)), Some((then, next))) = (place(&meant), place(&marker))
            && on == then
            && (next == nth + 1 || next == 0)
        {
            summary.followed += 1;
        }
        Ok(())
    }

    /// What came of all that was sent.
    pub fn verdict(&self) -> Summary {
        let mut read: BTreeMap<usize, Vec<Report>> = BTreeMap::new();
        let mut summary = Summary { cases: self.cases.len(), ..Summary::default() };
        for report in self.server.reports() {
            let number =
                report.request.target.split('/').find_map(|part| number(part).filter(|n| *n < self.cases.len()));
            match number {
                Some(nth) => read.entry(nth).or_default().push(report),
                None => summary.faults.push(format!("a request that nobody sent was read: {:?}", report.request)),
            }
        }
        for (nth, (what, _, told)) in self.cases.iter().enumerate() {
            let reports = read.remove(&nth).unwrap_or_default();
            if let Err(fault) = self.judge(nth, &reports, &mut summary) {
                let seen: Vec<_> = reports.iter().map(|report| &report.request).collect();
                summary.faults.push(format!("{what:?}: {fault}; told {told:?}; it has read {seen:?}"));
            }
        }
        summary
    }
}

fn number(part: &str) -> Option<usize> {
    if part.len() == 3 { usize::from_str_radix(part, 16).ok() } else { None }
}

fn answer(read: Result<Message, Broken>, method: &str) -> Answer {
    match read {
        Ok(answer) => {
            let ours = answer.field("proxy-status").is_some_and(|status| status.starts_with("outrigger"));
            told(answer.status(), ours, (method != "HEAD").then_some(&answer.body[..]))
        }
        Err(broken) if broken.part.head.start.is_empty() && !matches!(broken.fault, Fault::Late) => Answer::Ended,
        Err(broken) => Answer::Unclear(broken.to_string()),
    }
}

/// What an answer says, by its status, whose it is, and its body.
pub fn told(status: u16, ours: bool, body: Option<&[u8]>) -> Answer {
    match (status, ours, body) {
        (200, false, None) => Answer::Read(None),
        (200, false, Some(body)) => match serde_json::from_slice::<Value>(body) {
            Ok(seen) => Answer::Read(Some(Report::of(&seen).request)),
            Err(_) => Answer::Unclear(String::from_utf8_lossy(body).into_owned()),
        },
        (status, true, _) => Answer::Refused(status),
        (status, false, _) => Answer::Declined(status),
    }
}
