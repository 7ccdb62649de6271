//! Calls, and what was answered, in a form that two servers can be compared by.
//!
//! What cannot be the same is replaced: the ports that a server was given, those that the system chose, the id of a
//! request, the date. Everything else is kept, byte by byte.

use std::net::SocketAddr;

use chaos_tests::proxy::free_address;
use chaos_tests::toxiproxy::Toxiproxy;

/// A call, and where the answer is meant to differ.
#[derive(Debug, Clone)]
pub struct Call {
    /// Of HTTP.
    pub method: &'static str,
    /// `$A` to `$F` are addresses of loopback that nobody listens on, in the body as well.
    pub path: String,
    /// As it is sent.
    pub body: Vec<u8>,
    /// Further fields, each with its CRLF.
    pub fields: &'static str,
    /// Outrigger's own answer, where it is meant to be another one: why, the status, and what the body is or holds.
    pub but: Option<(Why, u16, &'static str)>,
    /// For the real server alone: it undoes what Outrigger refused.
    pub real_only: bool,
}

/// Why an answer differs. Each is a row of `docs/toxiproxy.md`, under "What differs".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A number that makes no sense.
    Senseless,
    /// An attribute that the toxic does not have.
    UnknownAttribute,
    /// A change that failed has changed nothing.
    Atomic,
    /// `down` is a toxic.
    Down,
    /// Toxics given with a proxy are there from its start.
    Toxics,
    /// A stream's name is shown in lower case.
    Case,
    /// A name with a slash is found again.
    Slash,
    /// A name that no path can hold.
    Unspeakable,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Senseless,
        Self::UnknownAttribute,
        Self::Atomic,
        Self::Down,
        Self::Toxics,
        Self::Case,
        Self::Slash,
        Self::Unspeakable,
    ];

    /// The words by which the page of the documentation says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Senseless => "Numbers that make no sense are refused",
            Self::UnknownAttribute => "Unknown attributes are refused",
            Self::Atomic => "A change that fails changes nothing",
            Self::Down => "`down` and the `http_` types are toxics, too",
            Self::Toxics => "Toxics can be given with a proxy",
            Self::Case => "`stream` is shown in lower case",
            Self::Slash => "A name with a slash in it is found again",
            Self::Unspeakable => "The names `.` and `..` are refused",
        }
    }
}

impl Call {
    /// Its answer is meant to be another one.
    pub fn but(mut self, why: Why, status: u16, body: &'static str) -> Self {
        self.but = Some((why, status, body));
        self
    }

    /// It is for the real server alone.
    pub fn real_only(mut self) -> Self {
        self.real_only = true;
        self
    }

    /// It has these fields, too.
    pub fn with(mut self, fields: &'static str) -> Self {
        self.fields = fields;
        self
    }

    /// As a reader of a failure wants to see it.
    pub fn shown(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        format!("{} {} {body}", self.method, self.path)
    }
}

/// A call.
pub fn call(method: &'static str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Call {
    Call { method, path: path.into(), body: body.into(), fields: "", but: None, real_only: false }
}

/// The addresses behind `$A` to `$F`, for one server.
#[derive(Debug)]
pub struct Addresses(Vec<SocketAddr>);

const LETTERS: [&str; 6] = ["$A", "$B", "$C", "$D", "$E", "$F"];

impl Addresses {
    /// Free ones.
    pub fn new() -> Self {
        Self(LETTERS.map(|_| free_address()).to_vec())
    }

    fn fill(&self, text: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
        let filled = LETTERS.iter().zip(&self.0);
        filled.fold(text.to_owned(), |text, (letter, address)| text.replace(letter, &address.to_string())).into()
    }

    fn normal(&self, text: &str) -> String {
        let known = LETTERS.iter().zip(&self.0);
        let text = known.fold(text.to_owned(), |text, (letter, address)| text.replace(&address.to_string(), letter));
        let text = self.0.iter().zip(LETTERS).fold(text, |text, (address, letter)| {
            text.replace(&format!("[::]:{}", address.port()), &letter.replace('$', "any "))
        });
        chosen(&chosen(&text, "127.0.0.1:"), "[::]:")
    }
}

/// Replaces ports that no call asked for: only the system chooses any that long.
pub fn chosen(text: &str, host: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(host) {
        let after = &rest[at + host.len()..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        out.push_str(&rest[..at + host.len()]);
        out.push_str(if digits == 5 { "CHOSEN" } else { &after[..digits] });
        rest = &after[digits..];
    }
    out + rest
}

/// Makes a call and writes its answer down.
pub fn answer(server: &Toxiproxy, addresses: &Addresses, call: &Call) -> (u16, String) {
    let path = String::from_utf8(addresses.fill(call.path.as_bytes())).unwrap();
    let answer = server.call_with(call.method, &path, &addresses.fill(&call.body), call.fields);
    let left_out = ["date", "content-length", "transfer-encoding", "connection"];
    let mut fields: Vec<String> = answer
        .head
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| match name.as_str() {
            "x-toxiproxy-request-id" => {
                assert!(value.len() == 20 && value.bytes().all(|b| b.is_ascii_alphanumeric()), "{value}");
                format!("{name}: ID")
            }
            _ => format!("{name}: {value}"),
        })
        .collect();
    fields.sort_unstable();
    let status = answer.status();
    let body = addresses.normal(&answer.text());
    (status, format!("{}\n{}\n\n{body}", answer.head.start, addresses.normal(&fields.join("\n"))))
}
