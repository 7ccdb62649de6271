//! Plain TCP proxies: each leads somewhere, and is called something.

use std::sync::Arc;

use super::Build;
use crate::config::settings::{TcpSettings, TcpTimes, TcpUpstream};

impl Build<'_> {
    pub(super) fn tcp(&mut self) -> Vec<TcpSettings> {
        let config = self.config;
        let mut all: Vec<TcpSettings> = Vec::new();
        for (index, tcp) in self.places(&["tcp"], config.tcp.len()).iter().zip(&config.tcp) {
            let path = |key| ["tcp", index, key];
            if tcp.name.is_empty() {
                self.blame(&path("name"), "found nothing, expected a name".into());
            }
            if let Some(first) = all.iter().position(|other| *other.name == *tcp.name) {
                self.blame(&path("name"), format!("found `{}`, which `tcp[{first}]` is called already", tcp.name));
            }
            let upstream = match (&tcp.service, &tcp.upstream) {
                (Some(service), None) => {
                    self.known_service(&path("service"), service);
                    TcpUpstream::Service(Arc::from(service.as_str()))
                }
                (None, Some(target)) => TcpUpstream::Address(target.to_string().into()),
                _ => {
                    self.blame(&["tcp", index], "expected either `service` or `upstream`: where does it lead?".into());
                    continue;
                }
            };
            self.some_patience(&path("idle_timeout"), tcp.idle_timeout);
            if let Some(timeout) = tcp.connect_timeout {
                self.some_time(&path("connect_timeout"), timeout);
            }
            let times =
                TcpTimes { idle: tcp.idle_timeout.time(), connect: tcp.connect_timeout.map(|timeout| timeout.0) };
            all.push(TcpSettings { name: tcp.name.as_str().into(), listen: tcp.listen.0, upstream, times });
        }
        all
    }
}
