//! Control fields: what a trusted caller says about its request (a deadline, a priority, the wish for an
//! explanation).
//!
//! They are read in one walk over the fields, and only for trusted callers. A field that cannot be understood is left
//! out and counted.

use std::time::Duration;

use crate::config::settings::{HttpLimits, Priority};
use crate::http::Head;
use crate::http::head::Name;
use crate::request::fields::ControlNames;
use crate::resilience::deadline;
use crate::telemetry::metrics::Steering;

/// A request's control fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlFields {
    /// How long the caller waits: the shortest of the deadlines that it states.
    pub waits: Option<Duration>,
    /// The request's priority.
    pub priority: Option<Priority>,
    /// Whether the request is to be recorded for `explain`.
    pub explain: bool,
    /// Which fields make no sense: a bit for each of [`Steering`].
    malformed: u8,
}

impl ControlFields {
    /// Reads the control fields of a trusted caller's head.
    pub fn of(head: &Head, names: &ControlNames<'_>) -> Self {
        let mut controls = Self::default();
        for (known, name, value) in head.fields() {
            match known {
                Name::GrpcTimeout => controls.wait(Steering::GrpcTimeout, deadline::grpc_timeout(value)),
                Name::XEnvoyTimeout => controls.wait(Steering::UpstreamTimeout, deadline::millis(value)),
                Name::XOutriggerExplain => controls.explain = value == b"1",
                Name::Other if names.deadline.eq_ignore_ascii_case(name) => {
                    controls.wait(Steering::Deadline, deadline::millis(value))
                }
                Name::Other if names.priority.eq_ignore_ascii_case(name) => match priority(value) {
                    Some(priority) => controls.priority = Some(priority),
                    None => controls.makes_no_sense(Steering::Priority),
                },
                Name::Other if name.eq_ignore_ascii_case(b"traceparent") && !is_trace_parent(value) => {
                    controls.makes_no_sense(Steering::TraceParent);
                }
                _ => {}
            }
        }
        controls
    }

    /// Whether every control field makes sense.
    pub fn make_sense(&self) -> bool {
        self.malformed == 0
    }

    /// The fields that make no sense.
    pub fn malformed(&self) -> impl Iterator<Item = Steering> {
        let bits = self.malformed;
        Steering::ALL.into_iter().filter(move |field| bits & 1 << *field as u8 != 0)
    }

    fn makes_no_sense(&mut self, field: Steering) {
        self.malformed |= 1 << field as u8;
    }

    fn wait(&mut self, field: Steering, waits: Option<Duration>) {
        match (waits, self.waits) {
            (Some(new), Some(known)) => self.waits = Some(new.min(known)),
            (Some(new), None) => self.waits = Some(new),
            (None, _) => self.makes_no_sense(field),
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

/// Whether a `traceparent` makes sense (W3C Trace Context, section 3.2). The proxy does not use it and passes it on
/// as it is. But the count of broken ones shows an operator why traces end.
fn is_trace_parent(value: &[u8]) -> bool {
    let hex = |part: &[u8], zero: bool| {
        part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && (zero || part.iter().any(|byte| *byte != b'0'))
    };
    let [version @ .., _] = &value[..value.len().min(3)] else { return false };
    let more = value.len() == 55 || value.len() > 55 && version != b"00" && value[55] == b'-';
    more && [2, 35, 52].iter().all(|at| value[*at] == b'-')
        && hex(version, true)
        && version != b"ff"
        && hex(&value[3..35], false)
        && hex(&value[36..52], false)
        && hex(&value[53..55], true)
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

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: ControlNames<'_> = ControlNames {
        deadline: b"x-request-deadline",
        priority: b"x-outrigger-priority",
        caller: b"x-outrigger-caller",
    };

    fn of(fields: &[(&str, &str)]) -> ControlFields {
        let mut head = Head::default();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        ControlFields::of(&head, &NAMES)
    }

    #[test]
    fn the_least_of_all_deadlines_counts() {
        let ms = |controls: ControlFields| controls.waits.map(|waits| waits.as_millis());
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
            ("traceparent", "00-0-0-0"),
        ]);
        use Steering::*;
        let all = [GrpcTimeout, UpstreamTimeout, Deadline, Priority, TraceParent];
        assert_eq!(controls.malformed().collect::<Vec<_>>(), all);
        assert_eq!(controls, ControlFields { malformed: controls.malformed, ..ControlFields::default() });
        let sensible = of(&[("x-request-deadline", "1"), ("x-outrigger-priority", "critical"), ("accept", "soon")]);
        assert_eq!(sensible.malformed().count(), 0);
    }

    #[test]
    fn a_trace_parent_is_read_by_the_book() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_trace_parent(good.as_bytes()));
        assert!(is_trace_parent(format!("cc{}-what-the-future-will-be-like", &good[2..]).as_bytes()));
        let (zeros, upper) = (good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), good.to_uppercase());
        for bad in [
            "",
            "00",
            "00-",
            &good[..54],
            &format!("{good}-01"),
            &format!("{good}0"),
            &format!("cc{}.", &good[2..]),
            &format!("ff{}", &good[2..]),
            &format!("0x{}", &good[2..]),
            &zeros,
            &good.replace("00f067aa0ba902b7", "0000000000000000"),
            &upper,
            &good.replace('-', "_"),
            &good.replace("-01", "-zz"),
        ] {
            assert!(!is_trace_parent(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_priority_and_the_wish_for_an_explanation_are_read() {
        let controls = of(&[("x-outrigger-priority", "critical"), ("x-outrigger-explain", "1")]);
        assert_eq!((controls.priority, controls.explain), (Some(Priority::Critical), true));
        assert!(!of(&[("x-outrigger-explain", "0")]).explain);
    }
}
