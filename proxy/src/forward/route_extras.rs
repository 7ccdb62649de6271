//! What a route does beyond choosing a service: who may call, an answer of its own, what is changed on the way.
//!
//! Most routes do nothing of it, and their requests pass by here with one look at an empty option.

use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::config::settings::{Access, FallbackAnswer, HeaderChanges, Redirect, RequestChanges};
use crate::error::Reason;
use crate::forward::answer::Answer;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::http::head::Name;
use crate::http::{Bad, Head, framing, write};
use crate::request::{self, Request};
use crate::route::{Reply, change};
use crate::worker::Worker;

/// Lets a request pass, or writes down which rule does not.
pub fn admit(worker: &Worker, access: &Access, request: &Request, record: &mut RequestRecord) -> Result<(), Reason> {
    access.admit(request.stated_origin()).map_err(|rule| {
        worker.tell_denied(&rule, request.client.peer);
        record.rule = Some(rule);
        Reason::AccessDenied
    })
}

/// The request as its service gets it.
pub fn changed(request: &Request, changes: &RequestChanges) -> Result<Box<Request>, Reason> {
    let target = request.target();
    let (path, _) = target.path_and_query();
    let query = &target.origin[path.len()..];
    let path = match &changes.path {
        None => path.into(),
        Some(change) => change::path(change, path).ok_or(Reason::BadRequest)?,
    };
    let host = changes.host.as_ref().map_or(target.host, |host| host.as_bytes());
    let head = change::request(&request.head, &[&path, query].concat(), host, &changes.headers);
    let head = Rc::new(head.map_err(request::reason_of)?);
    Ok(Box::new(Request {
        head,
        body: Rc::clone(&request.body),
        client: Rc::clone(&request.client),
        id: request.id,
        entrance: request.entrance.clone(),
        asked: Some(Rc::clone(&request.head)),
        interim: request.interim.clone(),
        upgrade: request.upgrade,
    }))
}

/// Changes an answer's fields. Those of a handshake (101) are between the two ends.
pub fn change_answer(answer: &mut Answer, changes: &HeaderChanges) -> Result<(), Reason> {
    if let Answer::Response(head, _) = answer {
        *head = Rc::new(change::answer(head, changes).map_err(|_| Reason::UpstreamHeadTooLarge)?);
    }
    Ok(())
}

/// What a route answers by itself.
pub fn reply(reply: &Reply, changes: &HeaderChanges, request: &Request) -> Result<Answer, Reason> {
    let made = match reply {
        Reply::Redirect(redirect) => moved(redirect, request)?,
        Reply::Fixed(answer) => fixed(answer),
    };
    let (head, body) = made.map_err(|_: Bad| Reason::Internal)?;
    // Of bytes made here even where there are none: an answer without a body looks like one that came from somewhere.
    let mut answer = Answer::Response(Rc::new(head), Download::Held(body));
    if !changes.is_empty() {
        change_answer(&mut answer, changes)?;
    }
    Ok(answer)
}

type Made = Result<(Head, Bytes), Bad>;

fn moved(redirect: &Redirect, request: &Request) -> Result<Made, Reason> {
    let target = request.target();
    let (path, _) = target.path_and_query();
    let said = if request.client.trusted { request.head.only(Name::XForwardedProto) } else { None };
    let asked = change::Asked {
        scheme: if said.unwrap_or(request.client.scheme()).eq_ignore_ascii_case(b"https") { "https" } else { "http" },
        host: target.host,
        path,
        query: &target.origin[path.len()..],
    };
    let location = change::location(redirect, &asked).ok_or(Reason::BadRequest)?;
    let mut head = Head::default();
    let made = head
        .set_status(redirect.status, write::reason(redirect.status).as_bytes(), change::OWN)
        .and_then(|()| head.push(b"Location", &location))
        .and_then(|()| dated(&mut head))
        .and_then(|()| head.push(b"Content-Length", b"0"));
    Ok(made.map(|()| (head, Bytes::new())))
}

fn fixed(answer: &FallbackAnswer) -> Made {
    let mut head = Head::default();
    head.set_status(answer.status, write::reason(answer.status).as_bytes(), change::OWN)?;
    for (name, value) in &answer.headers {
        head.push(name.as_bytes(), value.as_bytes())?;
    }
    let has = |name: &str| answer.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !has("cache-control") {
        head.push(b"Cache-Control", b"no-store")?;
    }
    if !has("date") {
        dated(&mut head)?;
    }
    if framing::may_have_content(answer.status) {
        head.push(b"Content-Length", answer.body.len().to_string().as_bytes())?;
    }
    Ok((head, Bytes::from_owner(std::sync::Arc::clone(&answer.body))))
}

fn dated(head: &mut Head) -> Result<(), Bad> {
    head.push(b"Date", httpdate::fmt_http_date(SystemTime::now()).as_bytes())
}
