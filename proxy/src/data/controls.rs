//! What a trusted caller says of its request, beside what it asks for.
//!
//! One walk over the fields, and only for callers whose word counts. What cannot be understood is left out and counted.

use std::time::Duration;

use super::headers::ControlNames;
use crate::config::settings::{HttpLimits, Priority};
use crate::http::Head;
use crate::http::head::Name;
use crate::resilience::deadline;

/// A request's control fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controls {
    /// How long the caller waits: the least of what it says.
    pub waits: Option<Duration>,
    /// What the request is worth.
    pub priority: Option<Priority>,
    /// Whether its life is to be written down.
    pub explain: bool,
    /// Fields that make no sense.
    pub malformed: u32,
}

impl Controls {
    /// What a trusted caller says.
    pub fn of(head: &Head, names: &ControlNames<'_>) -> Self {
        let mut controls = Self::default();
        for (known, name, value) in head.fields() {
            match known {
                Name::GrpcTimeout => controls.wait(deadline::grpc_timeout(value)),
                Name::XEnvoyTimeout => controls.wait(deadline::millis(value)),
                Name::XOutriggerExplain => controls.explain = value == b"1",
                Name::Other if names.deadline.eq_ignore_ascii_case(name) => controls.wait(deadline::millis(value)),
                Name::Other if names.priority.eq_ignore_ascii_case(name) => match priority(value) {
                    Some(priority) => controls.priority = Some(priority),
                    None => controls.malformed += 1,
                },
                _ => {}
            }
        }
        controls
    }

    fn wait(&mut self, waits: Option<Duration>) {
        match (waits, self.waits) {
            (Some(new), Some(known)) => self.waits = Some(new.min(known)),
            (Some(new), None) => self.waits = Some(new),
            (None, _) => self.malformed += 1,
        }
    }
}

fn priority(value: &[u8]) -> Option<Priority> {
    match value {
        b"critical" => Some(Priority::Critical),
        b"default" => Some(Priority::Default),
        b"sheddable" => Some(Priority::Sheddable),
        _ => None,
    }
}

impl HttpLimits {
    /// The names of the control fields that can be chosen.
    pub fn control_names(&self) -> ControlNames<'_> {
        ControlNames {
            deadline: self.deadline_header.as_bytes(),
            priority: self.priority_header.as_bytes(),
            caller: self.caller_header.as_bytes(),
        }
    }
}

/// Whether a request is gRPC's: of those nobody but their caller knows how long they may take.
pub fn is_grpc(head: &Head) -> bool {
    head.first(Name::ContentType).is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: ControlNames<'_> = ControlNames {
        deadline: b"x-request-deadline",
        priority: b"x-outrigger-priority",
        caller: b"x-outrigger-caller",
    };

    fn of(fields: &[(&str, &str)]) -> Controls {
        let mut head = Head::default();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        Controls::of(&head, &NAMES)
    }

    #[test]
    fn the_least_of_all_deadlines_counts() {
        let ms = |controls: Controls| controls.waits.map(|waits| waits.as_millis());
        assert_eq!(ms(of(&[])), None);
        assert_eq!(ms(of(&[("X-Request-Deadline", "250")])), Some(250));
        assert_eq!(ms(of(&[("grpc-timeout", "2S"), ("x-envoy-upstream-rq-timeout-ms", "700")])), Some(700));
        let all = [("x-request-deadline", "900"), ("grpc-timeout", "100m"), ("x-envoy-upstream-rq-timeout-ms", "500")];
        assert_eq!(ms(of(&all)), Some(100));
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_counted() {
        let controls = of(&[
            ("x-request-deadline", "soon"),
            ("grpc-timeout", "1x"),
            ("x-envoy-upstream-rq-timeout-ms", "-5"),
            ("x-outrigger-priority", "very"),
        ]);
        assert_eq!(controls, Controls { malformed: 4, ..Controls::default() });
    }

    #[test]
    fn a_priority_and_the_wish_for_an_explanation_are_read() {
        let controls = of(&[("x-outrigger-priority", "critical"), ("x-outrigger-explain", "1")]);
        assert_eq!((controls.priority, controls.explain), (Some(Priority::Critical), true));
        assert!(!of(&[("x-outrigger-explain", "0")]).explain);
    }
}
