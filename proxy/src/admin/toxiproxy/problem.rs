//! Why something was not done, in Toxiproxy's words where it has some.

use http::StatusCode;

use super::address;
use super::read::Bad;
use super::toxic::NoToxic;
use crate::fault_manager::Refused;
use crate::tcp::TcpError;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of HTTP.
    pub status: StatusCode,
    /// The sentence.
    pub message: String,
}

/// Bytes of a name. Names are kept, in the audit log as well.
const MAX_NAME: usize = 1024;

/// Refuses a name that is too long to be kept.
pub(super) fn short(field: &str, value: &str) -> Done<()> {
    if value.len() <= MAX_NAME {
        return Ok(());
    }
    let length = value.len();
    Err(Problem::bad(&format!("`{field}`: found {length} bytes, expected at most {MAX_NAME}")))
}

/// Refuses a name that no path can hold: whoever reads one takes it for a way up or for nothing.
pub(super) fn speakable(name: &str) -> Done<()> {
    match name {
        "." | ".." => Err(Problem::bad(&format!("`name`: found `{name}`, which cannot stand in a path"))),
        _ => Ok(()),
    }
}

/// What was asked for, or why not.
pub type Done<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A body that is none.
    pub fn bad(bad: &Bad) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("bad request body: {bad}"))
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("missing required field: {field}"))
    }

    pub(super) fn server(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }
}

impl Problem {
    /// A proxy has as many toxics as it may have.
    pub(super) fn too_many(most: usize) -> Self {
        Self::new(StatusCode::CONFLICT, format!("this proxy has {most} toxics already; remove some"))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Locked => Self::forbidden(refused.to_string()),
            Refused::Invalid(invalid) => Self::bad(&invalid.to_string()),
            Refused::Unknown(_) => Self::new(StatusCode::NOT_FOUND, refused.to_string()),
            Refused::Taken(..) => Self::new(StatusCode::CONFLICT, "toxic already exists"),
            Refused::Cap(_) => Self::new(StatusCode::CONFLICT, refused.to_string()),
        }
    }
}

impl From<NoToxic> for Problem {
    fn from(why: NoToxic) -> Self {
        let message = match why {
            NoToxic::Stream => "stream was invalid, can be either upstream or downstream",
            NoToxic::Type => "invalid toxic type",
            NoToxic::Taken => return Self::new(StatusCode::CONFLICT, "toxic already exists"),
            NoToxic::Bad(bad) => return Self::bad(&bad),
        };
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

pub(super) fn no_proxy() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "proxy not found")
}

pub(super) fn no_toxic() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "toxic not found")
}

pub(super) fn taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "proxy already exists")
}

/// `shown` is the address as Go shows it.
pub(super) fn refused(error: TcpError, shown: &str) -> Problem {
    match error {
        TcpError::Exists => taken(),
        TcpError::NotFound => no_proxy(),
        TcpError::Configured(_) => Problem::forbidden(error.to_string()),
        TcpError::Listen(_, error) => Problem::server(address::refusal(shown, &error)),
        TcpError::TooMany(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
    }
}

pub(super) fn listen_tcp(why: String) -> Problem {
    Problem::server(format!("listen tcp: {why}"))
}

pub(super) fn not_yours(name: &str) -> Problem {
    Problem::forbidden(format!(
        "`{name}` is a service that was discovered: it can have toxics and be disabled, but not be moved or removed"
    ))
}
